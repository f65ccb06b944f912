"""Policy strings: what is written can be read back, and nothing else can be read."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies import MAX, InvalidPolicyError, PolicySpec, build_policy

UNHURRIED = settings(deadline=None)

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
BUDGETS = st.one_of(st.none(), st.just(MAX), st.integers(0, 10**9))


def _is_word(text: str) -> bool:
    """Tell whether a text is written as it is read: no number, no truth value."""
    try:
        PolicySpec("p", params=(("k", text),))
    except InvalidPolicyError:
        return False
    return True


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.from_regex(r"[a-z0-9_.+-]{1,8}", fullmatch=True).filter(_is_word),
)
PARAMS = st.dictionaries(NAMES, VALUES, max_size=3).map(lambda d: tuple(sorted(d.items())))


def _extend(inner: st.SearchStrategy[PolicySpec]) -> st.SearchStrategy[PolicySpec]:
    members = st.lists(inner, max_size=3).map(tuple)
    atoms = st.builds(PolicySpec, NAMES, BUDGETS, PARAMS, members)
    wrappers = st.builds(PolicySpec, NAMES, st.none(), PARAMS, members, inner)
    return atoms | wrappers


SPECS = st.recursive(st.builds(PolicySpec, NAMES, BUDGETS, PARAMS), _extend, max_leaves=6)


@UNHURRIED
@given(SPECS)
def test_a_spec_survives_its_string(spec: PolicySpec) -> None:
    assert PolicySpec.parse(str(spec)) == spec


@UNHURRIED
@given(SPECS)
def test_a_spec_survives_json(spec: PolicySpec) -> None:
    assert PolicySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@UNHURRIED
@given(SPECS, SPECS)
def test_specs_are_equal_just_when_their_strings_are(one: PolicySpec, other: PolicySpec) -> None:
    assert (one == other) == (str(one) == str(other))


@UNHURRIED
@given(SPECS, st.randoms(use_true_random=False))
def test_white_space_and_case_do_not_matter(spec: PolicySpec, rng: Any) -> None:
    text = str(spec)
    separators = set("()=,/@")
    loose = "".join(
        rng.choice(["", " ", "\t "]) + part + rng.choice(["", " "]) if part in separators else part
        for part in (rng.choice([c, c.upper()]) for c in text)
    )
    assert PolicySpec.parse(f" {loose}\n") == spec


@UNHURRIED
@given(st.text(alphabet=st.one_of(st.sampled_from("abAB09()=,/@. -+e_"), st.characters())))
@example("")
@example("x(n=1" + "0" * 5000 + ")")
@example("x(n=1e999)")
@example("reasoning@" + "9" * 5000)
@example("a(" * 2000)
@example("a/" * 2000 + "b")
@example("a(n=1,n=2)")
@example("é")
@example("x@²")
def test_any_text_is_a_policy_or_an_invalid_policy(text: str) -> None:
    try:
        spec = PolicySpec.parse(text)
    except InvalidPolicyError:
        return
    assert PolicySpec.parse(str(spec)) == spec


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "budget", "params", "members", "inner", "n", "x y"]), inner
        )
    ),
    max_leaves=12,
)


@UNHURRIED
@given(JSON)
@example({"name": "a", "budget": True})
@example({"name": "a", "params": {"n": float("nan")}})
@example({"name": "a", "params": {1: 2, "x": 3}})
@example({"name": "a", "budget": [1]})
@example({"name": "a", "params": {"x": 10**5000}})
@example({"name": "a", "budget": 10**5000})
def test_any_document_is_a_policy_or_an_invalid_policy(document: Any) -> None:
    try:
        spec = PolicySpec.from_json(document)
    except InvalidPolicyError:
        return
    assert PolicySpec.parse(str(spec)) == spec


def test_deep_documents_are_refused() -> None:
    document: dict[str, Any] = {"name": "a"}
    for _ in range(3000):
        document = {"name": "a", "inner": document}
    with pytest.raises(InvalidPolicyError):
        PolicySpec.from_json(document)


def test_deep_specs_have_no_string_and_so_cannot_be_made() -> None:
    def nested(depth: int) -> PolicySpec:
        return PolicySpec("a", inner=nested(depth - 1) if depth else None)

    assert PolicySpec.parse(str(nested(16))) == nested(16)
    with pytest.raises(InvalidPolicyError, match="deep"):
        nested(17)


@UNHURRIED
@given(st.integers(-(2**50), 2**50))
def test_numbers_that_are_equal_have_one_spelling(whole: int) -> None:
    one = PolicySpec("a", params=(("x", whole),))
    other = PolicySpec("a", params=(("x", float(whole)),))
    assert one == other
    assert str(one) == str(other) == f"a(x={whole})"


def test_truth_values_and_numbers_are_not_the_same() -> None:
    specs = {PolicySpec.parse(f"a(x={value})") for value in ("true", "1", "yes", "1.0")}
    assert {str(spec) for spec in specs} == {"a(x=true)", "a(x=1)", "a(x=yes)"}


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Direct", "direct"),
        (" reasoning @ 2048 ", "reasoning@2048"),
        ("reasoning@MAX", "reasoning@max"),
        ("reasoning@007", "reasoning@7"),
        ("sc( N = 5 ) / reasoning@1024", "sc(n=5)/reasoning@1024"),
        ("cascade(direct,reasoning@2048)", "cascade(direct,reasoning@2048)"),
        ("x(b=1,a=2)", "x(a=2,b=1)"),
        ("x(t=0.70)", "x(t=0.7)"),
        ("x(on=True)", "x(on=true)"),
    ],
)
def test_strings_have_one_canonical_form(text: str, canonical: str) -> None:
    assert str(PolicySpec.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("reasoning@", "character 11"),
        ("reasoning@-1", "character 11"),
        ("sc(n=5", "character 7"),
        ("sc(n=)", "character 6"),
        ("direct direct", "character 8"),
        ("x(n=1,n=2)", "character 7"),
        ("a#b", "character 2"),
    ],
)
def test_an_error_marks_the_place(text: str, place: str) -> None:
    with pytest.raises(InvalidPolicyError, match=f"at {place}"):
        PolicySpec.parse(text)


@pytest.mark.parametrize("text", ["direct@5", "direct(n=1)", "reasoning", "reasoning(n=1)@5"])
def test_policies_refuse_what_they_do_not_take(text: str) -> None:
    with pytest.raises(InvalidPolicyError):
        build_policy(text)
