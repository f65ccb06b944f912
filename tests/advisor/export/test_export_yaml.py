"""The YAML that configurations are written in, read back by the reader the libraries use."""

import yaml
from hypothesis import given
from hypothesis import strategies as st

from advisor.export._yaml import YamlValue, yaml_document

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))
    | st.sampled_from(["no", "Yes", "on", "null", "1e5", "5e-06", "0x10", "1:30", "~", "", "- a"])
)
KEYS = st.from_regex(r"[a-z][a-z_]{2,12}", fullmatch=True).map("key_".__add__)
VALUES: st.SearchStrategy[YamlValue] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_what_is_written_is_read_back(values: dict[str, YamlValue]) -> None:
    assert (yaml.safe_load(yaml_document(values, ["a comment"])) or {}) == values
