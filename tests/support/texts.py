"""Texts as people write them about a product, as far as their words' frequencies go, and what is made of them."""

from __future__ import annotations

import numpy as np

_FREQUENT_FIRST = (
    "the a this that it is was very not really good bad product service food staff place price quality delivery time "
    "great terrible slow fast love hate would recommend never again works broken battery screen sound room clean dirty "
    "friendly rude helpful waste money value cheap expensive easy hard use update support answer wrong right model "
    "result search page video music shipping box arrived late early week month day year old new best worst ever my we "
    "they had have bought ordered received returned after before because but and so with for from on in of to at"
)
WORDS = _FREQUENT_FIRST.split()
_SHARES = 1 / np.arange(1, len(WORDS) + 1) ** 0.8


def written(rng: np.random.Generator, words: int) -> str:
    """A text of so many words; the frequent ones come as often as in a language (Zipf, exponent 0.8)."""
    return " ".join(rng.choice(WORDS, words, p=_SHARES / _SHARES.sum()))


def with_a_number(rng: np.random.Generator, text: str) -> str:
    """A copy that a number makes unique."""
    return f"{text} {rng.integers(10**6)}"


def with_another_word(rng: np.random.Generator, text: str) -> str:
    """A copy with one word replaced."""
    words = text.split()
    words[rng.integers(len(words))] = rng.choice(WORDS)
    return " ".join(words)
