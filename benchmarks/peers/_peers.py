"""Who takes part, how each is installed, and what it costs to have it on the machine."""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from ._protocol import ROOT, RunnerError

__all__ = ["OURS", "PEERS", "REFERENCES", "Footprint", "Peer", "footprint", "install"]

VENVS = ROOT / ".venv-peers"
RUNNERS = Path(__file__).parent / "runners"
PACKAGES = ("policies", "calibration", "router", "advisor")
_SHARED = ("_job.py", "_embedding.py")


@dataclass(frozen=True, slots=True)
class Peer:
    """One participant.

    Attributes:
        name: Name, of its environment too.
        distribution: What is installed.
        module: What a program that uses it imports.
        runner: Module under `runners`.
        is_trained: Whether it learns from the training questions.
        is_ours: Whether it runs in our own environment.
    """

    name: str
    distribution: str
    module: str
    runner: str
    is_trained: bool
    is_ours: bool = False

    @property
    def python(self) -> Path:
        """Interpreter of its environment."""
        return Path(sys.executable) if self.is_ours else VENVS / self.name / "bin" / "python"

    @property
    def command(self) -> list[str]:
        """What is run, before the two paths of the protocol."""
        return [str(self.python), "-W", "ignore", "-m", f"benchmarks.peers.runners.{self.runner}"]

    @property
    def site_packages(self) -> list[str]:
        """Where its packages lie."""
        if self.is_ours:
            return [path for path in sys.path if path.endswith("site-packages")]
        return [str(path) for path in VENVS.glob(f"{self.name}/lib/python*/site-packages")]

    @property
    def version(self) -> str:
        """Installed version, `-` if there is none."""
        found = _installed(self.site_packages).get(_normal(self.distribution))
        return found.version if found else "-"

    @property
    def identity(self) -> str:
        """What its results depend on, the questions aside; ours depend on this whole checkout."""
        files = [RUNNERS / f"{self.runner}.py", *(RUNNERS / name for name in _SHARED)]
        digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
        return f"{self.name} {self.version} {digest[:16]}"


REFERENCES = Peer("references", "thinkroute", "router", "references", True, is_ours=True)
"""Chance, length and a few lines of scikit-learn."""
OURS = Peer("thinkroute", "thinkroute", "router", "thinkroute", True, is_ours=True)
"""This project."""
PEERS = (
    Peer("litellm", "litellm", "litellm", "litellm", False),
    Peer("thinkbudget", "thinkbudget", "thinkbudget.proxy", "thinkbudget", False),
    Peer("semantic-router", "semantic-router", "semantic_router.routers", "semantic_router", True),
    Peer("llmrouter-lib", "llmrouter-lib", "llmrouter.models", "llmrouter", True),
)
"""The others, the largest last."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What it takes to have a participant.

    Attributes:
        megabytes: Files of its distribution and of everything it requires, in 10^6 bytes.
        n_packages: Distributions among them, itself included.
        import_s: Seconds of processor time to import it in a fresh process, the better of two.
    """

    megabytes: float
    n_packages: int
    import_s: float


def install(peer: Peer) -> None:
    """Make a peer's environment, at low priority; does nothing where it is complete.

    Raises:
        RunnerError: It could not be installed.
    """
    if peer.is_ours:
        return
    script = ROOT / "scripts" / "make_venv_peers.sh"
    done = subprocess.run(
        ["nice", "-n", "15", "bash", str(script), peer.name],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        lines = errors or done.stderr.splitlines() or ["no message"]
        raise RunnerError(f"not installed: {lines[-1].strip()}")


def footprint(peer: Peer) -> Footprint:
    """Measure what a participant takes.

    Raises:
        RunnerError: It is not installed or cannot be imported.
    """
    installed = _installed(peer.site_packages)
    names = _closure(peer.distribution, installed)
    size = sum(_size(installed[name]) for name in names)
    if peer.is_ours:  # installed from this checkout, so that its own files lie elsewhere
        files = (file for name in PACKAGES for file in (ROOT / name).rglob("*"))
        size += sum(f.stat().st_size for f in files if f.is_file() and "__pycache__" not in f.parts)
    return Footprint(size / 1e6, len(names), min(_import_s(peer) for _ in range(2)))


def _import_s(peer: Peer) -> float:
    program = (
        "import importlib, sys, time; start = time.process_time(); "
        f"module = importlib.import_module({peer.module!r}); "
        # A package whose names are loaded when first used has to load the one that matters.
        "getattr(module, 'Router', None) if 'thinkroute' in sys.argv else None; "
        "print(time.process_time() - start)"
    )
    done = subprocess.run(
        [str(peer.python), "-W", "ignore", "-c", program, peer.name],
        cwd=ROOT,
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PATH": "/usr/bin:/bin", "HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RunnerError(f"not imported: {(done.stderr.splitlines() or ['no message'])[-1]}")
    return float(done.stdout.split()[-1])


def _installed(site_packages: list[str]) -> dict[str, Distribution]:
    return {_normal(found.name): found for found in distributions(path=site_packages)}


def _closure(name: str, installed: dict[str, Distribution]) -> set[str]:
    """Return a distribution and everything it requires, as far as it is installed."""
    if _normal(name) not in installed:
        raise RunnerError(f"{name} is not installed")
    seen: set[str] = set()
    waiting = [(_normal(name), "")]
    done: set[tuple[str, str]] = set()
    while waiting:
        current, extra = waiting.pop()
        if (current, extra) in done or current not in installed:
            continue
        done.add((current, extra))
        seen.add(current)
        waiting.extend(_required(installed[current], extra))
    return seen


def _required(distribution: Distribution, extra: str) -> Iterator[tuple[str, str]]:
    from packaging.requirements import Requirement

    for text in distribution.requires or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            for wanted in ("", *sorted(requirement.extras)):
                yield _normal(requirement.name), wanted


def _size(distribution: Distribution) -> int:
    files = (Path(str(file.locate())) for file in distribution.files or [])
    return sum(f.stat().st_size for f in files if f.suffix != ".pyc" and f.is_file())


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
