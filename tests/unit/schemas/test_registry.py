"""What the registry client sends, and what it makes of answers that a registry should not give."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rheostat.schemas.registry import Registry, RegistryError


@dataclass
class Asked:
    """The requests that came: method and path, and their headers."""

    requests: list[str] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, Asked]]:
    """A server on this machine that gives every request the same answer; yields its HOST:PORT."""
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self.do_GET()

        def do_POST(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            asked.requests.append(f"{self.command} {self.path}")
            asked.authorization.append(self.headers["authorization"])
            self.rfile.read(int(self.headers["content-length"] or 0))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_subjects_are_those_of_topics_and_are_quoted_in_paths() -> None:
    registry = Registry("http://registry", "team/1.")
    assert registry.subject("predictions") == "team/1.predictions-value"
    assert registry.subject("manifest") == "team/1.manifest"
    with answering(200, b'{"id": 7, "version": 1}') as (place, asked):
        assert Registry(f"http://{place}/api/", "team/1.").register("predictions") == 7
    assert asked.requests == [
        "PUT /api/config/team%2F1.predictions-value",
        "POST /api/subjects/team%2F1.predictions-value/versions",
    ]


def test_credentials_in_the_address_are_sent_and_never_shown() -> None:
    with answering(401, b'{"error_code": 401, "message": "Unauthorized"}') as (place, asked):
        registry = Registry(f"http://ann:se:cret@{place}")
        with pytest.raises(RegistryError, match="look up audit-value: 401 Unauthorized") as raised:
            registry.id_of("audit")
    assert asked.authorization == ["Basic YW5uOnNlOmNyZXQ="]
    assert "se:cret" not in f"{raised.value} {registry!r}"


@pytest.mark.parametrize("body", [b"<html>", b'"text"', b"{}"])
def test_an_error_of_something_that_is_no_registry_is_shown(body: bytes) -> None:
    with answering(502, body) as (place, _), pytest.raises(RegistryError, match="look up audit-value: 502") as raised:
        Registry(f"http://{place}").id_of("audit")
    assert raised.value.status == 502


@pytest.mark.parametrize("body", [b"<html>", b""])
def test_an_answer_that_is_no_json_is_an_error(body: bytes) -> None:
    with answering(200, body) as (place, _), pytest.raises(RegistryError, match="audit-value"):
        Registry(f"http://{place}").id_of("audit")


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"id": "seven"}', b'{"id": null}'])
def test_an_answer_of_another_form_is_an_error(body: bytes) -> None:
    with answering(200, body) as (place, _), pytest.raises(RegistryError, match="audit-value"):
        Registry(f"http://{place}").id_of("audit")


@pytest.mark.parametrize("url", ["registry:8081", "file:///etc/passwd", "http://", "", "ftp://registry"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="begins with http:// or https://"):
        Registry(url)
