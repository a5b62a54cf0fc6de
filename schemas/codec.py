"""Records and blocks of records to bytes and back: Avro in the Confluent wire format.

Single records by `record_codec` (any schema), blocks by `block_codec` (schemas without bytes and maps).
"""

from rheostat.schemas.block_codec import arrow_schema, decode_block, decode_fields, decode_own, encode_block
from rheostat.schemas.block_layout import Decoded, Failure
from rheostat.schemas.record_codec import (
    BadRecord,
    decode_body,
    decode_record,
    encode_body,
    encode_record,
)

__all__ = [
    "BadRecord",
    "Decoded",
    "Failure",
    "arrow_schema",
    "decode_block",
    "decode_body",
    "decode_fields",
    "decode_own",
    "decode_record",
    "encode_block",
    "encode_body",
    "encode_record",
]
