"""Configurations read the same by every reader of YAML, and their reasons stay comments."""

import math

import yaml
from hypothesis import given
from hypothesis import strategies as st

from advisor.export._layout import Entry, Section, commented_yaml
from advisor.export._yaml import YamlValue, yaml_document

keys = st.text(min_size=1, max_size=20)
scalars = st.one_of(
    st.text(),
    st.sampled_from(["no", "Null", "1e3", "12:30", "2026-01-01", "<<", "=", "a: b", "# c", ".5"]),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.none(),
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(keys, scalars, max_size=3),
    st.lists(st.dictionaries(keys, scalars, min_size=1, max_size=2), max_size=2),
)


@given(st.dictionaries(keys, values, max_size=4))
def test_what_is_written_is_what_is_read(document: dict[str, YamlValue]) -> None:
    assert (yaml.safe_load(yaml_document(document)) or {}) == document


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_stay_numbers(value: float) -> None:
    """PyYAML takes `5e-06` for text; a learning rate would then be a string."""
    read = yaml.safe_load(yaml_document({"rate": value}))["rate"]
    assert isinstance(read, float)
    assert read == value


def test_a_number_that_is_none_stays_none() -> None:
    assert math.isnan(yaml.safe_load(yaml_document({"rate": math.nan}))["rate"])


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
            values,
            st.from_regex(r"[ -~]{0,110}", fullmatch=True),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda entry: entry[0],
    )
)
def test_reasons_and_headings_change_no_value(entries: list[tuple[str, YamlValue, str]]) -> None:
    section = Section("Some: heading # here", [Entry(*entry) for entry in entries])
    text = commented_yaml(["First: line", "# second"], [section])
    assert yaml.safe_load(text) == {key: value for key, value, _ in entries}


def test_entries_below_a_key_are_its_map() -> None:
    inner = Section("", [Entry("beta", 0.0, "no reference model"), Entry("names", ["a", "b"])])
    text = commented_yaml([], [Section("GRPO", [Entry("rl", "grpo"), Entry("trl", inner, "TRL")])])
    assert yaml.safe_load(text) == {"rl": "grpo", "trl": {"beta": 0.0, "names": ["a", "b"]}}
    assert "  beta: 0.0  # no reference model\n" in text


def test_a_long_reason_goes_above_its_key() -> None:
    why = "w" * 90
    text = commented_yaml([], [Section("", [Entry("some_key", 1, why)])])
    assert text == f"# {why}\nsome_key: 1\n"


def test_reasons_of_a_section_are_aligned() -> None:
    entries = [Entry("a", 1, "one"), Entry("much_longer", True, "two"), Entry("b", 2)]
    assert commented_yaml([], [Section("Head", entries)]) == (
        "# Head\na: 1               # one\nmuch_longer: true  # two\nb: 2\n"
    )
