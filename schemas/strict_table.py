"""One table of a file that people write: every entry is checked, and all that is wrong is told, not only the first."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
Report = Callable[[str, str], None]
"""Takes the name of an entry and what is wrong with it."""


class StrictTable:
    """Reads the entries of a table, one call for each; `close` reports those that nobody asked for.

    `given` is a TOML table, `defaults` what holds where it is silent. A wrong entry is reported and read as a stand-in
    of its type, so that reading goes on: drop what was read when anything was reported.
    """

    def __init__(self, given: Mapping[str, Any], report: Report, defaults: Mapping[str, Any] | None = None) -> None:
        self._given = given
        self._defaults = defaults or {}
        self.report = report
        self._asked: dict[str, None] = {}

    def has(self, name: str) -> bool:
        """Whether the table itself has the entry, which it need not."""
        self._asked[name] = None
        return name in self._given

    def text(self, name: str, what: str) -> str:
        """Return a text that is not empty; `what` says in an error what it should tell."""
        value = self._entry(name, f"{what}, as text")
        if isinstance(value, str) and value.strip() and value.isprintable():
            return value
        return self._wrong(name, value, f"{what}, as text on one line", "")

    def choice(self, name: str, options: Collection[str]) -> str:
        """Return one of the options."""
        value = self._entry(name, f"one of {', '.join(options)}")
        if isinstance(value, str) and value in options:
            return value
        return self._wrong(name, value, f"one of {', '.join(options)}", next(iter(options)))

    def integer(self, name: str, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        value = self._entry(name, f"a whole number from {low:,} to {high:,}")
        if type(value) is int and low <= value <= high:
            return value
        return self._wrong(name, value, f"a whole number from {low:,} to {high:,}", high)

    def number(self, name: str, low: float, high: float) -> float:
        """Return a finite number from `low` to `high`."""
        value = self._entry(name, f"a number from {low:g} to {high:g}")
        if _is_number(value) and low <= value <= high and math.isfinite(value):
            return float(value)
        return self._wrong(name, value, f"a number from {low:g} to {high:g}", 0.0)

    def numbers(self, name: str, count: int, what: str) -> tuple[float, ...]:
        """Return `count` numbers, none of them NaN, that never fall; none where the entry is wrong."""
        value = self._entry(name, what)
        if isinstance(value, list) and len(value) == count and all(map(_is_number, value)) and sorted(value) == value:
            return tuple(map(float, value))
        return self._wrong(name, value, what, ())

    def span(self, name: str) -> tuple[float, float]:
        """Return the lowest and the highest of a range; an open end is TOML's `inf` or `-inf`."""
        what = "two rising numbers, [LOWEST, HIGHEST], such as [0, inf]"
        value = self._entry(name, what)
        if isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and value[0] < value[1]:
            return float(value[0]), float(value[1])
        return self._wrong(name, value, what, (-math.inf, math.inf))

    def texts(self, name: str, what: str) -> tuple[str, ...]:
        """Return a list of different texts, none of them empty."""
        value = self._entry(name, what)
        fits = isinstance(value, list) and value and all(isinstance(each, str) and each for each in value)
        if fits and len(set(value)) == len(value):
            return tuple(value)
        return self._wrong(name, value, what, ())

    def shares(self, name: str, count_max: int) -> Mapping[str, float]:
        """Return the shares by name: at most `count_max`, each above 0, in sum at most 1."""
        what = f"a table of at most {count_max} shares, each above 0, in sum at most 1"
        value = self._entry(name, what)
        fits = isinstance(value, dict) and len(value) <= count_max and all(map(_is_number, value.values()))
        if fits and all(share > 0 for share in value.values()) and sum(value.values()) <= 1.0 + 1e-4:
            return {each: float(share) for each, share in value.items()}
        return self._wrong(name, value, what, {})

    def table(self, name: str) -> Mapping[str, Any]:
        """Return the table under this name."""
        value = self._entry(name, "a table")
        return value if isinstance(value, dict) else self._wrong(name, value, "a table", {})

    def tables(self, name: str) -> list[Mapping[str, Any]]:
        """Return the tables `[[name]]`, at least one."""
        what = f"at least one table, each under [[{name}]]"
        value = self._entry(name, what)
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            return value
        return self._wrong(name, value, what, [])

    def ignore(self, *names: str) -> None:
        """Take what stands under these names as it is: nothing can be said about it."""
        self._asked |= dict.fromkeys(names)

    def refuse(self, name: str, why: str) -> None:
        """Report the entry if it is there: it has no place in this table."""
        self._asked[name] = None
        if name in self._given:
            self.report(name, why)

    def close(self) -> None:
        """Report every entry that was not asked for."""
        for name in self._given:
            if name not in self._asked:
                self.report(name, f"no such entry; known here: {', '.join(self._asked)}")

    def _entry(self, name: str, what: str) -> Any:
        self._asked[name] = None
        if name in self._given:
            return self._given[name]
        if name not in self._defaults:
            self.report(name, f"is missing: say {what}")
        return self._defaults.get(name)

    def _wrong(self, name: str, value: Any, what: str, instead: T) -> T:
        if name in self._given:
            self.report(name, f"{value!r:.80} is not {what}")
        return instead


def _is_number(value: Any) -> bool:
    # TOML's whole numbers have no bound; these are the ones that a float can hold.
    return (type(value) is float and not math.isnan(value)) or (type(value) is int and abs(value) <= 2**1023)
