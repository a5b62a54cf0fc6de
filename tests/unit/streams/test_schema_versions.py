"""Older schema versions: where they are found, and what `rheostat schemas check` makes of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rheostat.schemas.documents import names
from rheostat.streams.cli.schemas import app
from rheostat.streams.errors import ConfigError
from rheostat.streams.schema_versions import of_folder, of_git_ref, releases

SCHEMAS = Path(__file__).parents[3] / "schemas"


def git(folder: Path, *arguments: str) -> str:
    """Run git with an author of its own, and without the settings of the machine."""
    settings = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *settings, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def schema(*fields: str, kind: str = "int") -> str:
    """An .avsc with these fields."""
    return json.dumps({"type": "record", "name": "R", "fields": [{"name": each, "type": kind} for each in fields]})


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with three versions of one schema, one of another, and one that was removed."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "schemas").mkdir()

    def commit(**files: str | None) -> None:
        for name, text in files.items():
            path = tmp_path / "schemas" / f"{name}.avsc"
            path.unlink() if text is None else path.write_text(text)
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", "-m", "change")

    commit(clicks=schema("a"), gone=schema("a"))
    git(tmp_path, "tag", "v1")
    commit(clicks=schema("a", "b"), views=schema("x"))
    commit(gone=None)
    commit(clicks=schema("a", "b", "c"))
    return tmp_path


def fields(document: Any) -> list[str]:
    """The field names of a schema."""
    return [each["name"] for each in document["fields"]]


def test_a_ref_gives_every_version_in_its_history(checkout: Path) -> None:
    found = of_git_ref("main", checkout)
    assert {name: [fields(each.document) for each in versions] for name, versions in found.items()} == {
        "clicks": [["a"], ["a", "b"], ["a", "b", "c"]],
        "views": [["x"]],
    }
    labels = [each.label for each in found["clicks"]]
    assert [git(checkout, "rev-parse", each.split(":")[0]) for each in labels] == [
        git(checkout, "rev-parse", each) for each in ("main~3", "main~2", "main")
    ]
    assert set(of_git_ref("v1", checkout)) == {"clicks", "gone"}


def test_a_ref_gives_the_releases_that_it_contains(checkout: Path) -> None:
    (checkout / "schemas" / "ids.json").write_text('{"clicks": 1, "views": 2}')
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "-m", "ids")
    git(checkout, "tag", "v2.0.1")
    git(checkout, "tag", "various")
    found = releases("main", checkout)
    assert [(each.label, dict(each.ids), sorted(each.documents)) for each in found] == [
        ("v1", {}, ["clicks", "gone"]),
        ("v2.0.1", {"clicks": 1, "views": 2}, ["clicks", "views"]),
    ]
    assert fields(found[1].documents["clicks"]) == ["a", "b", "c"]
    assert [each.label for each in releases("main~1", checkout)] == ["v1"]
    with pytest.raises(ConfigError, match="no such ref"):
        releases("--help", checkout)


@pytest.mark.parametrize("ref", ["nonsense", "--help", "main:schemas", ""])
def test_an_unknown_ref_is_an_error_that_says_what_to_give(checkout: Path, ref: str) -> None:
    with pytest.raises(ConfigError, match="--against takes a git ref of the checkout, a folder"):
        of_git_ref(ref, checkout)


def test_outside_of_a_checkout_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a git repository"):
        of_git_ref("main", tmp_path)


def test_a_folder_gives_its_files(tmp_path: Path) -> None:
    (tmp_path / "clicks.avsc").write_text(schema("a"))
    (tmp_path / "README.md").write_text("no schema")
    assert {name: [fields(each.document) for each in found] for name, found in of_folder(tmp_path).items()} == {
        "clicks": [["a"]]
    }
    (tmp_path / "broken.avsc").write_text("{")
    with pytest.raises(ConfigError, match=r"broken\.avsc is not JSON"):
        of_folder(tmp_path)


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A folder with the schemas as they are."""
    for path in SCHEMAS.glob("*.avsc"):
        shutil.copy(path, tmp_path)
    return tmp_path


def rewrite(path: Path, **changed: Any) -> None:
    """Change the first field of a schema."""
    content = json.loads(path.read_text())
    content["fields"][0].update(changed)
    path.write_text(json.dumps(content))


def test_check_passes_on_what_is_the_same(older: Path) -> None:
    done = CliRunner().invoke(app, ["check", "--against", str(older), "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"compared": len(names()), "findings": []})


def test_check_fails_and_names_topic_and_field(older: Path) -> None:
    rewrite(older / "predictions.avsc", type="long")
    rewrite(older / "feedback.ledger.avsc", name="former_id")
    done = CliRunner().invoke(app, ["check", "--against", str(older)])
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert [line.split(" (written by")[0] for line in lines[:-1]] == [
        "feedback.ledger: event_id: was not there, and has no default now",
        "predictions: prediction_id: was long, is string",
    ]
    assert lines[-1] == f"{len(names())} versions of {len(names())} schemas compared: 2 incompatible"
    found = json.loads(CliRunner().invoke(app, ["check", "--against", str(older), "--json"]).stdout)["findings"]
    assert [(each["schema"], each["field"]) for each in found] == [
        ("feedback.ledger", "event_id"),
        ("predictions", "prediction_id"),
    ]


def test_check_fails_on_a_schema_that_is_gone(older: Path) -> None:
    (older / "feedback.former.avsc").write_text(schema("a"))
    done = CliRunner().invoke(app, ["check", "--against", str(older)])
    assert (done.exit_code, done.stdout.splitlines()[0].split(" (")[0]) == (
        1,
        "feedback.former: the record: the schema is gone",
    )


def test_nothing_to_compare_with_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["check", "--against", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert "there is no schema in it to compare with" in str(done.exception)


def test_list_shows_every_schema() -> None:
    rows = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)["schemas"]
    assert [row["schema"] for row in rows] == list(names())
    assert len(CliRunner().invoke(app, ["list"]).stdout.splitlines()) == len(names()) + 1
