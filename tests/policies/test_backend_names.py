"""Backends are found by name, and wrong options are refused."""

import pytest

from policies import (
    InvalidInputError,
    UnknownNameError,
    backend_names,
    build_backend,
)


def test_backends_are_found_by_name() -> None:
    assert {"fake", "openai", "pocket", "replay"} <= set(backend_names())
    backend = build_backend("openai", "m", base_url="http://127.0.0.1/v1")
    assert (backend.name, backend.model) == ("openai", "m")
    with pytest.raises(UnknownNameError, match="did you mean 'openai'") as caught:
        build_backend("opanai", "m")
    assert caught.value.code == "unknown-backend"


def test_wrong_options_are_named_with_those_that_fit() -> None:
    with pytest.raises(InvalidInputError, match="base_url"):
        build_backend("openai", "m")
    with pytest.raises(InvalidInputError, match=r"temperature.*it takes .*base_url"):
        build_backend("openai", "m", base_url="http://127.0.0.1/v1", temperature=1)
