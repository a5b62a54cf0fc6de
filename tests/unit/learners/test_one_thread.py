"""Linear algebra has one thread while anybody asks for it, and all it had when nobody does any more."""

from __future__ import annotations

import threading

import pytest

from rheostat.learners import one_thread
from rheostat.learners.one_thread import one_thread as with_one


class Library:
    """A number of threads as OpenBLAS keeps it."""

    def __init__(self) -> None:
        self.threads = 7

    def get(self) -> int:
        return self.threads

    def put(self, threads: int) -> None:
        self.threads = threads


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(one_thread, "_threads", lambda: (made.get, made.put))
    return made


def test_threads_come_back_after_the_last_block_and_after_an_error(library: Library) -> None:
    def fail() -> None:
        with with_one():
            raise KeyError(library.threads)

    with with_one():
        with pytest.raises(KeyError, match="1"):
            fail()
        assert library.threads == 1
    assert library.threads == 7


def test_blocks_of_several_threads_may_overlap(library: Library) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with with_one():
            inside.set()
            leave.wait(10.0)

    holder = threading.Thread(target=hold)
    with with_one():
        holder.start()
        assert inside.wait(10.0)
    assert library.threads == 1
    leave.set()
    holder.join(10.0)
    assert library.threads == 7


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_thread, "_threads", lambda: None)
    with with_one():
        pass


def test_the_installed_numpy_is_known() -> None:
    threads = one_thread._threads()
    assert threads is not None
    with with_one():
        assert threads[0]() == 1
