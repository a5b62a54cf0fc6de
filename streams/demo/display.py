"""The demo's screen: what happens, how well the model does, where every event went."""

from __future__ import annotations

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rheostat.streams.conservation import FORWARDED, OUTCOMES, Books
from rheostat.streams.demo.watch import Watched
from rheostat.streams.demo.world import Seen
from rheostat.streams.sparkline import sparkline

WIDTH = 56
NOTES_SHOWN = 7


def screen(second: float, seen: Seen, watched: Watched, books: Books | None, what: str) -> Panel:
    """Return one frame."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column()
    rows.add_row("now", Text(seen.phase.value, style="bold"))
    rows.add_row("ROC AUC", _curve([value for _, value in seen.auc]))
    rows.add_row("", Text("of served scores against what people found, last 1,000 predictions", style="dim"))
    rows.add_row("events", _books(books))
    versions = "  ".join(
        f"{model} {version} (loss {watched.brier.get(model, float('nan')):.3f})"
        for model, version in sorted(watched.newest.items())
    )
    rows.add_row("versions", versions or "none yet")
    notes = "\n".join(f"· {note}" for note in watched.notes[-NOTES_SHOWN:]) or "nothing yet"
    rows.add_row("noticed", notes)
    title = f"Rheostat · {what} (real records), reviewers simulated · {second:4.0f} s"
    return Panel(Group(rows), title=title, border_style="cyan", width=110)


def _curve(values: list[float]) -> Text:
    if not values:
        return Text("waiting for the first 200 predictions", style="dim")
    colour = "green" if values[-1] > 0.85 else "yellow" if values[-1] > 0.7 else "red"
    return Text(f"{sparkline(values, WIDTH, 0.3, 1.0)} {values[-1]:.3f}", style=colour)


def _books(books: Books | None) -> str:
    if books is None or not books.by_partition:
        return "none yet"
    parts = " + ".join(f"{books.total(name):,} {name}" for name in OUTCOMES if name != FORWARDED)
    return f"{books.events:,} = {parts} {'✓' if books.balanced else '✗ NOT BALANCED'}"
