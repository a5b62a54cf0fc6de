"""Events are stamped in whichever way they leave a service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rheostat.schemas import catalogue
from rheostat.schemas.hops import HEADER, Trail, write
from rheostat.streams.client.event import Feedback
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.client.forwarder import SpooledDelivery
from rheostat.streams.client.spool import SpoolSettings
from rheostat.streams.client.stamps import EVERY, Stamps
from rheostat.streams.clock import ManualClock
from rheostat.streams.config import GatewayConfig
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.engine.packed_headers import named
from rheostat.streams.gateway.courier import AcknowledgedCourier, Courier, SpoolCourier
from rheostat.streams.gateway.server import GatewaySettings
from rheostat.streams.provision import create_topics

CLOCK = ManualClock()
Send = Callable[[MemoryBroker, Path, Sequence[Feedback]], None]


def by_client(broker: MemoryBroker, folder: Path, events: Sequence[Feedback]) -> None:
    with FeedbackClient(broker, source="shop", clock=CLOCK, stamp_every=4) as client:
        for event in events:
            client.send(event)


def by_spool(broker: MemoryBroker, folder: Path, events: Sequence[Feedback]) -> None:
    with FeedbackClient(broker, source="shop", clock=CLOCK, stamp_every=4, spool=folder) as client:
        for event in events:
            client.send(event)


def by_gateway(broker: MemoryBroker, folder: Path, events: Sequence[Feedback]) -> None:
    accept(AcknowledgedCourier(broker.producer(), 100, 10_000, Stamps(4, CLOCK)), events)


def by_gateway_s_spool(broker: MemoryBroker, folder: Path, events: Sequence[Feedback]) -> None:
    accept(SpoolCourier(SpooledDelivery(SpoolSettings(folder), broker.producer, stamps=Stamps(4, CLOCK))), events)


def accept(courier: Courier, events: Sequence[Feedback]) -> None:
    asyncio.run(courier.accept(events))
    courier.close()


@pytest.mark.parametrize("send", [by_client, by_spool, by_gateway, by_gateway_s_spool])
def test_one_in_so_many_is_stamped_with_the_time_it_was_sent_at(send: Send, tmp_path: Path) -> None:
    broker = MemoryBroker(CLOCK)
    create_topics(broker, 1, 1)
    now_ms = CLOCK.now_ms()
    events = [
        Feedback(kind="thumb", value=1.0, subject_id=f"u{number}", consent=True, source="shop", occurred_at=now_ms)
        for number in range(9)
    ]
    send(broker, tmp_path, events)
    (block,) = broker.log().read(catalogue.FEEDBACK_EXPLICIT, 0)
    assert block.headers is not None
    assert named([block.headers], HEADER) == [write(Trail(now_ms))] * 3
    stamped = [row for row, own in enumerate(block.headers) if HEADER in dict(own or ())]
    assert stamped == [0, 4, 8]
    assert all("ce_id" in dict(own or ()) for own in block.headers)


def test_by_default_one_in_a_hundred_is_stamped() -> None:
    assert GatewayConfig().stamp_every == GatewaySettings().stamp_every == EVERY == 100
