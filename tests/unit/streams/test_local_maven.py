"""What local servers are made of: fetched once, never half."""

from __future__ import annotations

from pathlib import Path

import pytest

from rheostat.streams.errors import ConfigError
from rheostat.streams.local.maven import fetch, find_deploy_folder, find_java

MAVEN = """#!/bin/sh
for each; do case $each in -DoutputDirectory=*) folder=${each#*=};; esac; done
mkdir -p "$folder" && echo "$@" > "$folder/asked"
exit %d
"""


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """A folder such as deploy/kafka."""
    folder = tmp_path / "deploy/thing"
    folder.mkdir(parents=True)
    (folder / "pom.xml").write_text("<project/>")
    return folder


def install_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exit_code: int) -> None:
    """Put a program called mvn first on the path."""
    script = tmp_path / "bin/mvn"
    script.parent.mkdir(exist_ok=True)
    script.write_text(MAVEN % exit_code)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")


def test_it_is_fetched_once_and_again_when_the_pom_changes(
    deploy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    install_maven(tmp_path, monkeypatch, 0)
    first = fetch(deploy, "unpack-dependencies", cache)
    assert "dependency:unpack-dependencies" in (first / "asked").read_text()
    monkeypatch.setenv("PATH", "")
    assert fetch(deploy, "unpack-dependencies", cache) == first
    install_maven(tmp_path, monkeypatch, 0)
    (deploy / "pom.xml").write_text("<project>another</project>")
    second = fetch(deploy, "unpack-dependencies", cache)
    assert sorted(cache.iterdir()) == sorted([first, second])


def test_what_failed_half_way_is_not_kept(deploy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_maven(tmp_path, monkeypatch, 1)
    with pytest.raises(ConfigError, match=r"Maven could not fetch what .*deploy/thing/pom\.xml names"):
        fetch(deploy, "copy-dependencies", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_missing_is_named(deploy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigError, match=r"Maven \(mvn\) not found"):
        fetch(deploy, "copy-dependencies", tmp_path / "cache")
    with pytest.raises(ConfigError, match="Java 17 or later"):
        find_java()
    with pytest.raises(ConfigError, match=r"deploy/nothing/pom\.xml not found"):
        find_deploy_folder("nothing")


@pytest.mark.parametrize("name", ["kafka", "registry"])
def test_the_checkout_has_the_folder(name: str) -> None:
    assert (find_deploy_folder(name) / "pom.xml").is_file()
