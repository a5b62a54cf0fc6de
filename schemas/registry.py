"""A schema registry by Confluent's REST API: register the committed schemas, read ids and old versions.

By the standard library: confluent-kafka's own client needs four packages more, and this is five requests. A registry is
optional; without one the ids of `ids.json` are on the wire.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from rheostat.schemas.catalogue import TOPICS
from rheostat.schemas.compatibility import Version, incompatibilities
from rheostat.schemas.documents import document, names
from rheostat.schemas.ids import IdTable
from rheostat.schemas.layouts import Layout

COMPATIBILITY = "BACKWARD_TRANSITIVE"
_TIMEOUT_S = 10.0
_ANSWER_BYTES_MAX = 16 << 20
_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_NOT_FOUND = 404


class RegistryError(Exception):
    """The registry refused a request, or did not answer: `status` is 0 then."""

    def __init__(self, what: str, status: int, reason: str) -> None:
        super().__init__(f"schema registry: {what}: {reason}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry at an address such as http://registry:8081, or http://NAME:PASSWORD@registry:8081.

    prefix: put before every subject, as before the topics of the pipeline.
    """

    url: str = field(repr=False)
    prefix: str = ""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise ValueError("the address of a schema registry begins with http:// or https:// and names a host")

    def subject(self, schema: str) -> str:
        """Return the subject of a schema: `TOPIC-value`; the name itself for one that is embedded in another."""
        return f"{self.prefix}{schema}-value" if schema in TOPICS else f"{self.prefix}{schema}"

    def register(self, schema: str, avro: Mapping[str, Any] | None = None) -> int:
        """Register the committed schema, or another one, under its subject; return its id. Idempotent.

        The subject's rule is set first: registries allow anything, or less than all old versions, unless told.
        Raises RegistryError; its status is 409 where the schema breaks the rule.
        """
        subject = self.subject(schema)
        self._ask(
            "PUT", f"/config/{_part(subject)}", {"compatibility": COMPATIBILITY}, f"set the compatibility of {subject}"
        )
        return self._ask_id(f"/subjects/{_part(subject)}/versions", _body(schema, avro), f"register {subject}")

    def id_of(self, schema: str) -> int:
        """Return the id of the committed schema. Raises RegistryError where it is not registered."""
        subject = self.subject(schema)
        return self._ask_id(f"/subjects/{_part(subject)}", _body(schema, None), f"look up {subject}")

    def id_table(self) -> IdTable:
        """Return the registry's ids, to be put on the wire in place of the committed ones. Raises RegistryError.

        All of them, the embedded schemas' too: a registry's ids and committed ones side by side could be the same.
        With them come the other versions that the registry has and the schemas here can read, older or newer ones.
        """
        present = self.ids_of(names())
        return present.replaced({}, {k: v for schema in names() for k, v in self._others(schema, present).items()})

    def ids_of(self, schemas: Iterable[str]) -> IdTable:
        """Return the registry's ids of some schemas alone, for who only writes these. Raises RegistryError."""
        return IdTable({schema: self.id_of(schema) for schema in schemas})

    def versions(self, schema: str) -> list[Version]:
        """Return all versions of a schema, oldest first; none where the subject does not exist."""
        return [version for _, version in self._versions(schema)]

    def compatible(self, schema: str, avro: Mapping[str, Any]) -> bool:
        """Return the registry's own verdict on a schema against all versions that it has."""
        path = f"/compatibility/subjects/{_part(self.subject(schema))}/versions"
        return bool(self._ask("POST", path, _body(schema, avro), f"check {self.subject(schema)}")["is_compatible"])

    def _others(self, schema: str, present: IdTable) -> dict[int, Layout]:
        """Return the versions of a schema that are not the present one but can be read, by their ids."""
        return {
            number: Layout(schema, version.document)
            for number, version in self._versions(schema)
            if number != present.id_of(schema) and not incompatibilities(document(schema), version.document)
        }

    def _versions(self, schema: str) -> list[tuple[int, Version]]:
        """Return all versions of a schema with their ids, oldest first."""
        path = f"/subjects/{_part(self.subject(schema))}/versions"
        try:
            numbers = self._ask("GET", path, None, f"list the versions of {self.subject(schema)}")
        except RegistryError as error:
            if error.status == _NOT_FOUND:
                return []
            raise
        return [self._version(path, number) for number in sorted(numbers)]

    def _version(self, path: str, number: int) -> tuple[int, Version]:
        answer = self._ask("GET", f"{path}/{number}", None, f"read version {number}")
        return int(answer["id"]), Version(f"version {number}", json.loads(answer["schema"]))

    def _ask_id(self, path: str, body: Mapping[str, Any], what: str) -> int:
        answer = self._ask("POST", path, body, what)
        try:
            return int(answer["id"])
        except (KeyError, TypeError, ValueError):
            raise RegistryError(what, 0, f"an answer without an id: {answer!r:.200}") from None

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, what: str) -> Any:
        parts = urlsplit(self.url)
        address = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/") + path, "", ""))
        headers = {"accept": _MEDIA_TYPE, "content-type": _MEDIA_TYPE, **_credentials(parts.netloc)}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(address, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read(_ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                raise RegistryError(
                    what, error.code, f"{error.code} {_message(error.read(_ANSWER_BYTES_MAX))}"
                ) from None
        except (OSError, ValueError) as error:
            raise RegistryError(what, 0, f"no answer from {parts.hostname}: {error}") from error


def _part(text: str) -> str:
    return quote(text, safe="")


def _body(schema: str, avro: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"schema": json.dumps(document(schema) if avro is None else avro), "schemaType": "AVRO"}


def _credentials(place: str) -> dict[str, str]:
    """Return the header for NAME:PASSWORD in an address, none where it has none."""
    given, at, _ = place.rpartition("@")
    return {"authorization": "Basic " + base64.b64encode(given.encode()).decode()} if at else {}


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])[:1_000]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
