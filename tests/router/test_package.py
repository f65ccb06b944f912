import subprocess
import sys

import pytest

import router

HEAVY = ("litellm", "lightgbm", "sklearn", "scipy", "numpy", "pydantic", "torch", "openai", "vllm")


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sorted(sys.modules))"
    command = [sys.executable, "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_after("import router") & set(HEAVY)


def test_routing_needs_neither_lightgbm_nor_scikit_learn() -> None:
    loaded = loaded_after("from router import Router, complete, evaluate")
    assert not loaded & {"litellm", "lightgbm", "sklearn", "scipy", "torch", "openai"}


def test_every_public_name_is_importable_and_listed() -> None:
    assert sorted(router.__all__) == dir(router)
    for name in router.__all__:
        assert getattr(router, name) is not None
    with pytest.raises(AttributeError):
        _ = router.engine
