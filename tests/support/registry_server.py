"""A real schema registry for the tests: one that is named, or one on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rheostat.streams.errors import ConfigError
from rheostat.streams.local.registry import local_registry


@contextmanager
def registry_server(named: str | None) -> Iterator[str]:
    """Yield a registry's address: `named` if given, else that of a local one by Java and Maven."""
    if named:
        yield named
        return
    try:
        with local_registry() as url:
            yield url
    except ConfigError as error:
        raise RuntimeError(
            f"no schema registry for the tests. Either set RHEOSTAT_TEST_REGISTRY=URL, or install Java 17 and Maven. "
            f"The local one said: {error}"
        ) from error
