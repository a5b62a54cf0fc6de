import threading
import time
import uuid

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from rheostat.schemas import catalogue, codec
from rheostat.schemas.partitioner import partition_for
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import Fatal, Retryable
from rheostat.streams.metrics import Metrics
from rheostat.streams.models.version import Version
from rheostat.streams.serving.prediction_log import PredictionLog
from rheostat.streams.serving.predictions import Prediction, encode_predictions, new_prediction_id
from tests.support.serving import memory_broker


def prediction(number: int) -> Prediction:
    return Prediction(f"p-{number}", "m", Version(1, 2), "f@1", (1.0,), ("a",), 0.5, 1_000 + number)


def opened(queue_max: int = 100) -> tuple[MemoryBroker, PredictionLog]:
    broker = memory_broker(ManualClock())
    return broker, PredictionLog(broker.producer(), Metrics(CollectorRegistry()), "server-1", queue_max)


def written(broker: MemoryBroker) -> dict[str, tuple[int, int]]:
    """Partition and timestamp by prediction id."""
    log, found = broker.log(), {}
    for partition in range(log.partitions(catalogue.PREDICTIONS)):
        for block in log.read(catalogue.PREDICTIONS, partition):
            for value, at in zip(block.values, block.timestamps_ms, strict=True):
                found[codec.decode_record(catalogue.PREDICTIONS, value)["prediction_id"]] = (partition, at)
    return found


def test_predictions_lie_where_their_feedback_will_and_carry_their_own_time() -> None:
    broker, log = opened()
    log.add([prediction(number) for number in range(20)])
    log.drain()
    partitions = broker.log().partitions(catalogue.PREDICTIONS)
    assert written(broker) == {
        f"p-{number}": (partition_for(f"p-{number}".encode(), partitions), 1_000 + number) for number in range(20)
    }


def test_each_prediction_is_written_dropped_or_still_queued() -> None:
    broker, log = opened(queue_max=10)
    assert log.add([prediction(number) for number in range(7)]) == 7
    assert log.add([prediction(number) for number in range(7, 14)]) == 3
    log.drain(4)
    assert (log.added, log.dropped, len(log), len(written(broker))) == (10, 4, 6, 4)


def test_a_producer_that_is_full_delays_without_loss() -> None:
    broker, log = opened()
    log.add([prediction(0), prediction(1)])
    broker.fail_next("send", Retryable("full"))
    assert log.drain() == 0
    assert log.drain() == 2
    assert set(written(broker)) == {"p-0", "p-1"}


def test_what_a_full_producer_left_goes_first_the_next_time() -> None:
    _, log = opened()
    sent: list[str] = []

    class Hesitant:
        """Takes two records, then none once, then all."""

        def send(self, topic: str, key: bytes, value: bytes, **_: object) -> None:
            if len(sent) == 2:
                sent.append("full")
                raise Retryable("full")
            sent.append(codec.decode_record(topic, value)["prediction_id"])

    log._producer = Hesitant()  # type: ignore[assignment]
    log.add([prediction(number) for number in range(4)])
    assert (log.drain(), log.drain()) == (2, 2)
    assert sent == ["p-0", "p-1", "full", "p-2", "p-3"]


TEXT = st.text(max_size=5)


@given(
    st.lists(
        st.builds(
            Prediction,
            prediction_id=TEXT,
            model=TEXT,
            version=st.builds(Version, st.integers(0, 9), st.integers(0, 9)),
            feature_set=TEXT,
            numeric=st.lists(st.floats(allow_nan=False), max_size=3).map(tuple),
            categorical=st.lists(TEXT, max_size=3).map(tuple),
            score=st.floats(0, 1),
            occurred_at_ms=st.integers(0, 1 << 41),
            expires_at_ms=st.none() | st.integers(0, 1 << 41),
            target_id=st.none() | TEXT,
            subject_id=st.none() | TEXT,
            segment=st.none() | TEXT,
            arm=st.none() | TEXT,
            action=st.none() | TEXT,
            propensity=st.none() | st.floats(0, 1),
            flags=st.lists(TEXT, max_size=2).map(tuple),
            arm_propensity=st.none() | st.floats(0, 1),
            shadow_of=st.none() | TEXT,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_records_hold_what_was_answered(predictions: list[Prediction]) -> None:
    values = encode_predictions(predictions, "server-1")
    for given_, value in zip(predictions, values, strict=True):
        record = codec.decode_record(catalogue.PREDICTIONS, value)
        said = given_._asdict()
        epoch, sequence = said.pop("version")
        said |= {"epoch": epoch, "sequence": sequence, "source": "server-1"}
        said |= {"occurred_at": said.pop("occurred_at_ms"), "expires_at": said.pop("expires_at_ms")}
        assert record == {name: list(each) if isinstance(each, tuple) else each for name, each in said.items()}


def test_an_error_that_nobody_foresaw_is_reported_and_answering_goes_on() -> None:
    _, log = opened()
    log.start()
    log.add([prediction(0)._replace(score="high")])  # type: ignore[arg-type]
    deadline = time.monotonic() + 10
    while log.failure is None:
        assert time.monotonic() < deadline
    assert log.add([prediction(1)]) == 1
    log.stop()


def test_a_dead_producer_is_reported_and_never_blocks() -> None:
    broker, log = opened(queue_max=5)
    broker.fail_next("send", Fatal("unusable"))
    log.start()
    log.add([prediction(0)])
    deadline = time.monotonic() + 10
    while log.failure is None:
        assert time.monotonic() < deadline
    assert log.add([prediction(number) for number in range(10)]) == 5
    assert log.stop() == 5


def test_stopping_sends_what_is_queued() -> None:
    broker, log = opened(queue_max=10_000)
    log.start()
    threads = [threading.Thread(target=lambda at=at: log.add([prediction(at)])) for at in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.stop() == 0
    assert len(written(broker)) == 50


def test_prediction_ids_are_unique_uuids_in_the_order_of_time() -> None:
    ids = [new_prediction_id(at) for at in range(1_760_000_000_000, 1_760_000_000_500)]
    assert ids == sorted(set(ids))
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert {uuid.UUID(each).variant for each in ids} == {uuid.RFC_4122}
    assert len({new_prediction_id(0) for _ in range(1_000)}) == 1_000
