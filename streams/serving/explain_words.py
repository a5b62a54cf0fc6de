"""The sentences of explanations, from a file with one table for each use. They are shown to users: plain and short."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from rheostat.streams.errors import ConfigError

_TABLES = ("sentences", "limits", "kinds")


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences by key, in one language."""

    sentences: Mapping[str, str]
    limits: Mapping[str, str]
    kinds: Mapping[str, str]

    def say(self, key: str, **given: object) -> dict[str, str]:
        """Return a sentence with its key, by which another program can say it in its own words."""
        return {"key": key, "text": self.text(key, **given)}

    def text(self, key: str, **given: object) -> str:
        """Return a sentence."""
        return self.sentences[key].format_map(given)

    def limit(self, key: str, **given: object) -> dict[str, str]:
        """Return something that an explanation cannot know."""
        return {"key": key, "text": self.limits[key].format_map(given)}

    def kind(self, name: str) -> str:
        """Return a kind of signal in words, its name where there are none."""
        return self.kinds.get(name, name)


@cache
def english() -> Words:
    """Return the words that come with the project."""
    return _words(tomllib.loads(files("rheostat.streams.serving").joinpath("explain.en.toml").read_text("utf-8")))


def read_words(file: Path) -> Words:
    """Return the words of a file; ConfigError unless it has all keys, and no other {words} in them than English."""
    try:
        found = _words(tomllib.loads(file.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"serve.explain_words: {file} cannot be read: {error}") from error
    for table in _TABLES:
        ours, theirs = getattr(english(), table), getattr(found, table)
        if left_out := sorted(set(ours) - set(theirs)):
            raise ConfigError(f"serve.explain_words: {file} lacks {table}.{left_out[0]}")
        for key, text in theirs.items():
            if wrong := _fields(file, f"{table}.{key}", text) - _fields(file, key, ours.get(key, "")):
                raise ConfigError(f"serve.explain_words: {file}, {table}.{key}: {{{min(wrong)}}} is not known there")
    return found


def _words(tables: Mapping[str, Any]) -> Words:
    return Words(*({str(key): str(text) for key, text in tables.get(name, {}).items()} for name in _TABLES))


def _fields(file: Path, key: str, text: str) -> set[str]:
    try:
        # A field is its bare name alone: `{model.__class__}` is none of ours.
        return {
            f"{name}!{conversion or ''}:{layout}" if conversion or layout else name
            for _, name, layout, conversion in string.Formatter().parse(text)
            if name is not None
        }
    except ValueError as error:
        raise ConfigError(f"serve.explain_words: {file}, {key}: {error}") from error
