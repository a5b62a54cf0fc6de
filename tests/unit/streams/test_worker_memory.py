"""What keeps a worker small and soon ready: it imports and looks at nothing for nobody, and gives memory back."""

from __future__ import annotations

import ctypes
import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_first_conversion_does_not_import_pandas_and_it_can_still_be_imported() -> None:
    shown = run(
        "import sys, pyarrow as pa\n"
        "from rheostat.streams.lean_imports import convert_without_pandas\n"
        "finders = list(sys.meta_path)\n"
        "convert_without_pandas()\n"
        "pa.array([{'a': 1.5}, None]).to_pylist()\n"
        "print('pandas' in sys.modules, sys.meta_path == finders)\n"
        "import pandas\n"
        "print(pandas.Series([1]).sum())"
    )
    assert shown.split() == ["False", "True", "1"]


def test_what_intake_compiles_does_not_need_scipy() -> None:
    importing = "import rheostat.streams.intake.stage, sys\nprint('scipy.linalg' in sys.modules)"
    hiding = "from rheostat.streams.lean_imports import compile_without_scipy\ncompile_without_scipy()\n"
    assert [run(importing), run(hiding + importing)] == ["True", "False"]


def test_the_metrics_of_one_stage_do_not_import_another() -> None:
    stages = "intake", "join", "learn", "monitor", "watch"
    loaded = f"print([each for each in {stages} if 'rheostat.streams.' + each + '.stage' in sys.modules])"
    assert run(f"import sys, rheostat.streams.stage_metrics, rheostat.streams.worker\n{loaded}") == "[]"


def test_the_collector_waits_until_all_is_imported_and_never_looks_at_that() -> None:
    shown = run(
        "import gc\n"
        "from rheostat.streams.collector import collect_later, collect_rarely\n"
        "collect_later()\n"
        "print(gc.isenabled())\n"
        "collect_rarely()\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 1_000, gc.get_threshold()[0] > 100_000)"
    )
    assert shown.split() == ["False", "True", "True", "True"]


def test_without_it_pandas_would_be_imported() -> None:
    assert run("import sys, pyarrow as pa\npa.array([1])\nprint('pandas' in sys.modules)") == "True"


def test_free_memory_goes_back_to_the_system() -> None:
    # Small pieces with one kept at the end: the heap cannot shrink by itself.
    before, after = map(
        int,
        run(
            "import ctypes, resource\n"
            "from pathlib import Path\n"
            "from rheostat.streams.heap import give_back, share_arenas\n"
            "share_arenas()\n"
            "resident = lambda: int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()\n"
            "pieces = [ctypes.create_string_buffer(2_000) for _ in range(50_000)]\n"
            "for piece in pieces: piece.raw = bytes(2_000)\n"
            "kept = pieces.pop()\n"
            "del piece\n"
            "pieces.clear()\n"
            "before = resident()\n"
            "give_back()\n"
            "print(before, resident())"
        ).split(),
    )
    # Only glibc can.
    assert before - after > (50_000_000 if hasattr(ctypes.CDLL(None), "malloc_trim") else -10_000_000)
