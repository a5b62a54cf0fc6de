"""Records that cannot be used, kept with their bytes and with what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rheostat.schemas import catalogue
from rheostat.schemas.codec import Failure, encode_record
from rheostat.streams.engine.block import Block, OutBlock

_ERROR_CHARS_MAX = 2_000


def dead_letters(
    partition: int, blocks: Sequence[Block], failures: Iterable[tuple[int, Failure]], now_ms: int
) -> OutBlock | None:
    """Return one dead letter for each failure, under the original key, for this partition; None when nothing failed.

    A failure comes with the index of its block; its `row` is the place in that block.
    """
    failed = [(blocks[index], failure) for index, failure in failures]
    if not failed:
        return None
    return OutBlock(
        catalogue.DEADLETTER,
        partition,
        [block.keys[failure.row] for block, failure in failed],
        [_letter(block, failure, now_ms) for block, failure in failed],
        [now_ms] * len(failed),
    )


def _letter(block: Block, failure: Failure, now_ms: int) -> bytes:
    headers = (block.headers[failure.row] if block.headers is not None else None) or []
    return encode_record(
        catalogue.DEADLETTER,
        {
            "origin_topic": block.topic,
            "origin_partition": block.partition,
            "origin_offset": block.offsets[failure.row],
            "key": block.keys[failure.row],
            "payload": block.values[failure.row],
            "headers": dict(headers),
            "field": failure.field,
            "error": failure.reason[:_ERROR_CHARS_MAX],
            "failed_at": now_ms,
        },
    )
