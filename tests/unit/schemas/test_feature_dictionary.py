"""Reading a feature dictionary: what is right comes out as written, what is wrong is told by file, feature, entry."""

from __future__ import annotations

import json
import re
import tempfile
from math import inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.schemas.catalogue import EXAMPLES, TOPICS
from rheostat.schemas.feature_dictionary import (
    BadDictionary,
    Problem,
    feature_dictionary,
    find_feature_set,
    packaged_dictionary,
    read_dictionary,
    read_feature_set,
)
from rheostat.schemas.feature_sketches import CategorySketch, NumberSketch

COMMON = """
meaning = "An offer."
owner = "offers"
consent_basis = "contract"
retention_days = 30
available_at = "request"
"""
PRICE = """
[[feature]]
name = "price"
type = "numeric"
meaning = "What the buyer pays."
unit = "EUR"
range = [0, inf]
"""
PRICE_BASELINE = """
[feature.baseline]
count = 1000
missing = 0.25
mean = 4.5
deviation = 2
quantiles = [1, 2, 3.5, 6, 9]
"""
NEW = """
[[feature]]
name = "is_new"
type = "boolean"
meaning = "1: new."
"""
COUNTRY = """
[[feature]]
name = "country"
type = "categorical"
meaning = "Where the buyer is."
categories = ["de", "fr"]
owner = "buyers"
available_at = "prediction"
"""
COUNTRY_BASELINE = """
[feature.baseline]
count = 1000
missing = 0.0
distinct = 2
frequent = { de = 0.75, fr = 0.25 }
"""
WHOLE = COMMON + COUNTRY + COUNTRY_BASELINE + PRICE + PRICE_BASELINE + NEW


def a_file(folder: Path, text: str, name: str = "shop@1") -> Path:
    file = folder / f"{name}.toml"
    file.write_text(text)
    return file


def problems_of(folder: Path, text: str, name: str = "shop@1") -> tuple[Problem, ...]:
    with pytest.raises(BadDictionary) as caught:
        read_feature_set(a_file(folder, text, name))
    return caught.value.problems


def test_a_set_says_what_its_file_says(tmp_path: Path) -> None:
    found = read_feature_set(a_file(tmp_path, WHOLE))
    assert (found.id, found.meaning, found.file) == ("shop@1", "An offer.", tmp_path / "shop@1.toml")
    country, price, new = found.features
    assert (price.unit, price.low, price.high, price.meaning) == ("EUR", 0.0, inf, "What the buyer pays.")
    assert price.baseline == NumberSketch(1000, 0.25, 4.5, 2.0, (1.0, 2.0, 3.5, 6.0, 9.0))
    assert country.baseline == CategorySketch(1000, 0.0, 2, {"de": 0.75, "fr": 0.25})
    assert (country.categories, country.categories_max, new.baseline) == (("de", "fr"), None, None)
    assert [each.allowed for each in found.features] == ["de, fr", "0 to inf", "0 or 1"]


def test_inputs_stand_in_the_order_of_the_file_and_booleans_are_numbers(tmp_path: Path) -> None:
    found = read_feature_set(a_file(tmp_path, WHOLE))
    assert (found.numeric, found.categorical) == (("price", "is_new"), ("country",))
    turned = read_feature_set(a_file(tmp_path, COMMON + NEW + PRICE))
    assert turned.numeric == ("is_new", "price")


def test_what_is_said_for_the_set_holds_unless_a_feature_says_otherwise(tmp_path: Path) -> None:
    country, price, _ = read_feature_set(a_file(tmp_path, WHOLE)).features
    assert (price.owner, price.available_at, price.consent_basis) == ("offers", "request", "contract")
    assert (country.owner, country.available_at, country.consent_basis) == ("buyers", "prediction", "contract")


@pytest.mark.parametrize("entry", ["owner", "consent_basis", "retention_days", "available_at"])
def test_what_neither_the_set_nor_a_feature_says_is_missing(tmp_path: Path, entry: str) -> None:
    lines = [line for line in COMMON.splitlines() if not line.startswith(entry)]
    (found,) = problems_of(tmp_path, "\n".join(lines) + PRICE)
    assert (found.feature, found.entry) == ("price", entry)
    assert found.reason.startswith("is missing: say ")


@pytest.mark.parametrize(
    ("line", "instead", "entry", "why"),
    [
        ('name = "price"', "name = 7", "name", "7 is not what the feature is called"),
        ('type = "numeric"', 'type = "number"', "type", "'number' is not one of numeric, boolean, categorical"),
        ('meaning = "What the buyer pays."', 'meaning = " "', "meaning", "is not what its value tells"),
        ('meaning = "What the buyer pays."', 'meaning = "a\\nb"', "meaning", "on one line"),
        ('unit = "EUR"', "", "unit", "is missing: say what it counts or measures"),
        ("range = [0, inf]", "range = [0, nan]", "range", "[0, nan] is not two rising numbers"),
        ("range = [0, inf]", "range = [0]", "range", "is not two rising numbers"),
        ("range = [0, inf]", "range = [true, 2]", "range", "is not two rising numbers"),
        ("range = [0, inf]", f"range = [0, 1{'0' * 400}]", "range", "is not two rising numbers"),
        ("range = [0, inf]", "range = [20, 10]", "range", "is not two rising numbers"),
        ("range = [0, inf]", "range = [0, 6]", "baseline.quantiles", "are not all within the range, 0 to 6"),
        ("range = [0, inf]", "range = [0, inf]\ncolour = 1", "colour", "no such entry; known here: name, "),
        ("range = [0, inf]", "range = [0, inf]\ncategories_max = 3", "categories_max", "no place in a numeric feature"),
        ("range = [0, inf]", 'range = [0, inf]\nconsent_basis = "yes"', "consent_basis", "'yes' is not one of not-per"),
        (
            "range = [0, inf]",
            'range = [0, inf]\navailable_at = "later"',
            "available_at",
            "request, prediction, outcome",
        ),
        ("range = [0, inf]", "range = [0, inf]\nretention_days = 7", "retention_days", "a whole number from 30 to"),
        ("count = 1000", "count = 99", "baseline.count", "99 is not a whole number from 100 to"),
        ("count = 1000", "count = true", "baseline.count", "True is not a whole number"),
        ("missing = 0.25", "missing = 1.25", "baseline.missing", "1.25 is not a number from 0 to 1"),
        ("mean = 4.5", "mean = -1", "baseline.mean", "-1 is not a number from 0 to inf"),
        ("mean = 4.5", "mean = inf", "baseline.mean", "inf is not a number"),
        ("deviation = 2", "deviation = -2", "baseline.deviation", "-2 is not a number from 0"),
        ("deviation = 2", "", "baseline.deviation", "is missing"),
        ("quantiles = [1, 2, 3.5, 6, 9]", "quantiles = [1, 2, 9]", "baseline.quantiles", "at 0.05, 0.25, 0.5"),
        ("quantiles = [1, 2, 3.5, 6, 9]", "quantiles = [9, 2, 3, 6, 9]", "baseline.quantiles", "never falling"),
        ("quantiles = [1, 2, 3.5, 6, 9]", "", "baseline.quantiles", "is missing"),
        ("deviation = 2", "deviation = 2\nfrequent = { a = 1.0 }", "baseline.frequent", "no such entry"),
    ],
)
def test_a_wrong_entry_of_a_number_is_told(tmp_path: Path, line: str, instead: str, entry: str, why: str) -> None:
    numeric = PRICE + PRICE_BASELINE
    assert numeric.count(line) == 1
    found = problems_of(tmp_path, COMMON + COUNTRY + numeric.replace(line, instead))
    (told,) = found
    assert told.entry == entry
    assert why in told.reason
    assert told.file == str(tmp_path / "shop@1.toml")
    assert told.feature == ("no. 2" if entry == "name" else "price")
    assert str(told) == f"{told.file}: feature '{told.feature}': {entry}: {told.reason}"


@pytest.mark.parametrize(
    ("line", "instead", "entry", "why"),
    [
        ('categories = ["de", "fr"]', "", "categories_max", "or list them in categories"),
        ('categories = ["de", "fr"]', 'categories = ["de", "de"]', "categories", "a list of different texts"),
        ('categories = ["de", "fr"]', "categories = []", "categories", "a list of different texts"),
        ('categories = ["de", "fr"]', 'categories = ["de", "it"]', "baseline.frequent", "'fr' is not one of the"),
        ('categories = ["de", "fr"]', "categories_max = 0", "categories_max", "a whole number from 1"),
        ('categories = ["de", "fr"]', "categories_max = 1", "baseline.distinct", "2 is not a whole number from 2 to 1"),
        ("owner =", "categories_max = 2\nowner =", "categories_max", "either categories or categories_max"),
        ("owner =", 'unit = "1"\nowner =', "unit", "has no place in a categorical feature"),
        ("distinct = 2", "distinct = 3", "baseline.distinct", "3 is not a whole number from 2 to 2"),
        ("de = 0.75", "de = 0.85", "baseline.frequent", "in sum at most 1"),
        ("de = 0.75", "de = -0.75", "baseline.frequent", "each above 0"),
        ("de = 0.75", 'de = "most"', "baseline.frequent", "a table of at most 10 shares"),
        ("distinct = 2", "distinct = 2\nmean = 1.0", "baseline.mean", "no such entry"),
    ],
)
def test_a_wrong_entry_of_a_category_is_told(tmp_path: Path, line: str, instead: str, entry: str, why: str) -> None:
    assert (COUNTRY + COUNTRY_BASELINE).count(line) == 1
    found = problems_of(tmp_path, COMMON + PRICE + (COUNTRY + COUNTRY_BASELINE).replace(line, instead))
    (told,) = found
    assert (told.feature, told.entry) == ("country", entry)
    assert why in told.reason


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("shop", WHOLE, "NAME@VERSION.toml, such as shop@1.toml"),
        ("shop@0", WHOLE, "NAME@VERSION.toml"),
        ("shop@1", COMMON, "feature: is missing: say at least one table, each under [[feature]]"),
        ("shop@1", COMMON + "feature = []", "is not at least one table"),
        ("shop@1", COMMON + PRICE + PRICE, "feature 'price': name: stands there more than once"),
        ("shop@1", 'colour = "red"\n' + WHOLE, "shop@1.toml: colour: no such entry"),
        ("shop@1", WHOLE.replace('owner = "offers"', "owner = 3"), "shop@1.toml: owner: 3 is not who answers"),
        ("shop@1", COMMON + PRICE + "[[feature]", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, name: str, text: str, why: str) -> None:
    assert why in "\n".join(map(str, problems_of(tmp_path, text, name)))


def test_everything_that_is_wrong_in_all_files_is_told_at_once(tmp_path: Path) -> None:
    a_file(tmp_path, COMMON + PRICE.replace("EUR", "") + NEW.replace("boolean", "bool"), "a@1")
    a_file(tmp_path, COMMON + COUNTRY.replace("buyers", ""), "b@1")
    good = a_file(tmp_path, WHOLE, "c@1")
    found, problems = read_dictionary(tmp_path)
    assert list(found) == ["c@1"]
    assert found["c@1"].file == good
    assert [(Path(each.file).stem, each.feature, each.entry) for each in problems] == [
        ("a@1", "price", "unit"),
        ("a@1", "is_new", "type"),
        ("b@1", "country", "owner"),
    ]
    with pytest.raises(BadDictionary) as caught:
        feature_dictionary(tmp_path)
    assert str(caught.value).splitlines() == [str(each) for each in problems]


def test_an_empty_folder_and_an_unknown_set_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadDictionary, match="has no feature set"):
        feature_dictionary(tmp_path)
    a_file(tmp_path, WHOLE)
    with pytest.raises(BadDictionary, match=r"shop@2\.toml: there is no such file; feature sets there: shop@1"):
        find_feature_set(tmp_path, "shop@2")
    below = tmp_path / "below"
    below.mkdir()
    with pytest.raises(BadDictionary, match=r"'\.\./shop@1' is no NAME@VERSION"):
        find_feature_set(below, "../shop@1")


def test_no_feature_is_promised_to_be_forgotten_before_it_is(tmp_path: Path) -> None:
    kept_days = TOPICS[EXAMPLES].retention_ms // 86_400_000
    read_feature_set(a_file(tmp_path, WHOLE.replace("retention_days = 30", f"retention_days = {kept_days}")))
    (found, *_) = problems_of(tmp_path, WHOLE.replace("retention_days = 30", f"retention_days = {kept_days - 1}"))
    assert found.entry == "retention_days"


VALUES = st.recursive(
    st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=6,
)
ENTRIES = sorted(set(re.findall(r"^(\w+) = ", WHOLE, re.MULTILINE)))


@settings(deadline=None)
@given(st.sampled_from(ENTRIES), VALUES, st.integers(0, 3))
def test_whatever_stands_in_an_entry_it_is_read_or_told(entry: str, value: object, place: int) -> None:
    text = json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf").replace("\x7f", "\\u007f")
    places = [match.span() for match in re.finditer(rf"^{entry} = .*$", WHOLE, re.MULTILINE)]
    start, end = places[place % len(places)]
    with tempfile.TemporaryDirectory() as folder:
        a_file(Path(folder), f"{WHOLE[:start]}{entry} = {text}{WHOLE[end:]}")
        found, problems = read_dictionary(Path(folder))
    assert [len(each.features) for each in found.values()] == ([] if problems else [3])
    assert all(each.entry or "is not valid TOML" in each.reason for each in problems)


def test_the_example_of_the_readme_is_right(tmp_path: Path) -> None:
    readme = (packaged_dictionary() / "README.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    found = read_feature_set(a_file(tmp_path, example))
    assert (found.numeric, found.categorical) == (("price", "is_new", "position"), ("country",))
    assert found.leaking == ()
