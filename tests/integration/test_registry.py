"""The schemas and a real registry: registered, read back, and judged alike."""

from __future__ import annotations

import copy
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from rheostat.schemas.catalogue import FEEDBACK, FEEDBACK_EXPLICIT, FEEDBACK_IMPLICIT
from rheostat.schemas.codec import BadRecord, decode_block, decode_record, encode_block, encode_record
from rheostat.schemas.compatibility import incompatibilities
from rheostat.schemas.documents import document, names
from rheostat.schemas.ids import COMMITTED, in_force
from rheostat.schemas.layouts import Layout
from rheostat.schemas.registry import Registry, RegistryError
from rheostat.streams.cli.main import app as rheostat
from rheostat.streams.cli.schemas import app
from rheostat.streams.client.feedback import FeedbackClient
from rheostat.streams.clock import ManualClock
from rheostat.streams.engine.memory import MemoryBroker
from rheostat.streams.errors import ConfigError
from rheostat.streams.schema_versions import of_git_ref
from tests.support.feedback import NOW_MS, create_topics, event
from tests.unit.schemas.older import value_of
from tests.unit.schemas.test_compatibility import READABLE, UNREADABLE

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def target(registry: str) -> Registry:
    """The registry, with subjects that no other test uses."""
    return Registry(registry, f"{uuid.uuid4().hex}.")


def changed(change: Change) -> dict[str, Any]:
    """The schema of explicit feedback after a change."""
    avro = copy.deepcopy(dict(document(FEEDBACK_EXPLICIT)))
    change(avro)
    return avro


def add_optional(avro: dict[str, Any]) -> None:
    """What may be done."""
    avro["fields"].append({"name": "novelty", "type": ["null", "string"], "default": None})


def add_required(avro: dict[str, Any]) -> None:
    """What may not."""
    avro["fields"].append({"name": "novelty", "type": "string"})


def test_registering_is_idempotent_and_gives_the_ids_that_go_on_the_wire(target: Registry) -> None:
    first = {name: target.register(name) for name in names()}
    assert {name: target.register(name) for name in names()} == first
    table = target.id_table()
    assert dict(table.ids) == first
    record = event("e")
    value = encode_record(FEEDBACK_EXPLICIT, record, ids=table)
    assert value[:5] == b"\0" + first[FEEDBACK_EXPLICIT].to_bytes(4, "big")
    assert decode_record(FEEDBACK_EXPLICIT, value, ids=table) == record
    with pytest.raises(BadRecord, match="schema id"):
        decode_record(FEEDBACK_EXPLICIT, b"\0" + (2**31).to_bytes(4, "big") + value[5:], ids=table)


def test_the_registry_gives_back_all_versions_and_refuses_what_breaks_one(target: Registry) -> None:
    assert target.versions(FEEDBACK_EXPLICIT) == []
    target.register(FEEDBACK_EXPLICIT)
    target.register(FEEDBACK_EXPLICIT, changed(add_optional))
    versions = target.versions(FEEDBACK_EXPLICIT)
    assert [each.label for each in versions] == ["version 1", "version 2"]
    assert [len(each.document["fields"]) for each in versions] == [13, 14]
    with pytest.raises(RegistryError, match=f"register {target.subject(FEEDBACK_EXPLICIT)}: 409") as raised:
        target.register(FEEDBACK_EXPLICIT, changed(add_required))
    assert raised.value.status == 409


@pytest.mark.parametrize("schema", names())
def test_the_registry_accepts_every_schema_after_any_version_in_the_history(target: Registry, schema: str) -> None:
    """What `rheostat schemas check --against HEAD` says of the committed schemas, said by a registry."""
    for at, version in enumerate(of_git_ref("HEAD").get(schema, ())):
        alone = Registry(target.url, f"{target.prefix}{at}.")
        alone.register(schema, version.document)
        assert alone.compatible(schema, document(schema))
    assert target.register(schema) == target.id_of(schema)


def test_ids_of_other_versions_come_from_the_registry_if_they_can_be_read(target: Registry) -> None:
    """An older version and a newer one can be; of one with text for a value nothing is known."""
    older, newer = changed(lambda avro: avro["fields"].pop(8)), changed(add_optional)
    assert document(FEEDBACK_EXPLICIT)["fields"][8]["name"] == "text"
    older_id, _, newer_id = (target.register(FEEDBACK_EXPLICIT, each) for each in (older, None, newer))
    for name in names():
        target.register(name)
    table = target.id_table()
    assert set(table.earlier_of(FEEDBACK_EXPLICIT)) == {older_id, newer_id}
    record = event("e")
    without_text = {name: value for name, value in record.items() if name != "text"}
    values = [
        value_of(Layout(FEEDBACK_EXPLICIT, older), older_id, without_text),
        encode_record(FEEDBACK_EXPLICIT, record, ids=table),
        value_of(Layout(FEEDBACK_EXPLICIT, newer), newer_id, {**record, "novelty": "new"}),
    ]
    assert [decode_record(FEEDBACK_EXPLICIT, value, ids=table) for value in values] == [record] * 3
    decoded = decode_block(FEEDBACK_EXPLICIT, values, ids=table)
    assert (decoded.failures, decoded.rows.tolist()) == ([], [0, 1, 2])
    assert encode_block(FEEDBACK_EXPLICIT, decoded.batch, ids=table) == [values[1]] * 3


def test_a_client_writes_the_registrys_ids(target: Registry) -> None:
    target.register(FEEDBACK_IMPLICIT)
    ids = {name: target.register(name) for name in FEEDBACK}
    broker = MemoryBroker(ManualClock(NOW_MS))
    create_topics(broker, 1)
    with FeedbackClient(broker, source="shop", registry=target.url, prefix=target.prefix) as client:
        client.thumb("p-1", "u-1", up=True, consent=True)
        client.click("p-1", "u-1", consent=True)
    for topic in (FEEDBACK_EXPLICIT, FEEDBACK_IMPLICIT):
        (block,) = broker.log().read(topic, 0)
        assert [(value or b"")[:5] for value in block.values] == [b"\0" + ids[topic].to_bytes(4, "big")]


def test_a_client_says_which_schema_is_not_registered(target: Registry) -> None:
    with pytest.raises(RegistryError, match=f"look up {target.subject(FEEDBACK_EXPLICIT)}: 404"):
        FeedbackClient(MemoryBroker(ManualClock(NOW_MS)), source="shop", registry=target.url, prefix=target.prefix)


def test_a_schema_that_is_not_registered_has_no_id(target: Registry) -> None:
    with pytest.raises(RegistryError, match=f"look up {target.subject(FEEDBACK_EXPLICIT)}: 404"):
        target.id_of(FEEDBACK_EXPLICIT)


def test_a_registry_that_does_not_answer_is_named() -> None:
    with pytest.raises(RegistryError, match=r"no answer from 127\.0\.0\.1") as raised:
        Registry("http://user:secret@127.0.0.1:1").register(FEEDBACK_EXPLICIT)
    assert "secret" not in str(raised.value) + repr(Registry("http://user:secret@127.0.0.1:1"))


CASES = [*((case, *READABLE[case]) for case in READABLE), *((case, *UNREADABLE[case][:2]) for case in UNREADABLE)]


@pytest.mark.parametrize(("case", "reader", "writer"), CASES, ids=[case for case, _, _ in CASES])
def test_the_registrys_verdict_is_ours(target: Registry, case: str, reader: Any, writer: Any) -> None:
    target.register(FEEDBACK_EXPLICIT, writer)
    assert target.compatible(FEEDBACK_EXPLICIT, reader) == (not incompatibilities(reader, writer))


def test_the_command_registers_lists_and_checks(target: Registry) -> None:
    place = ["--prefix", target.prefix, "--json"]
    run = CliRunner().invoke
    with_registry = ["--registry", target.url, *place]
    registered = json.loads(run(app, ["register", *with_registry]).stdout)["registered"]
    assert set(registered) == {target.subject(name) for name in names()}
    rows = json.loads(run(app, ["list", *with_registry]).stdout)["schemas"]
    assert {target.subject(row["schema"]): row["registry_id"] for row in rows} == registered
    check = ["check", "--against", target.url, *place]
    passed = run(app, check)
    assert (passed.exit_code, json.loads(passed.stdout)) == (0, {"compared": len(names()), "findings": []})


def test_the_command_fails_on_what_another_version_wrote_and_names_it(target: Registry) -> None:
    """Somebody registered a version whose `value` is text: what we have here cannot read that."""
    avro = changed(lambda avro: avro["fields"][5].update(type="string"))
    target.register(FEEDBACK_EXPLICIT, avro)
    done = CliRunner().invoke(app, ["check", "--against", target.url, "--prefix", target.prefix])
    assert done.exit_code == 1
    assert done.stdout.startswith("feedback.explicit: value: was string, is double (written by version 1)\n")


def test_an_address_that_is_none_is_an_error() -> None:
    done = CliRunner().invoke(app, ["register", "--registry", "registry:8081"])
    assert isinstance(done.exception, ConfigError)
    assert "begins with http" in str(done.exception)


def test_a_verb_with_a_registry_that_lacks_the_schemas_says_what_to_do(target: Registry) -> None:
    settings = ["--set", f"registry.url={target.url}", "--set", f"kafka.prefix={target.prefix}"]
    done = CliRunner().invoke(rheostat, ["status", *settings])
    assert isinstance(done.exception, ConfigError)
    assert re.search("registry.url: .*404.*`rheostat schemas register` registers all schemas", str(done.exception))
    assert in_force() is COMMITTED
