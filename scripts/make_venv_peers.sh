#!/usr/bin/env bash
# Build .venv-peers/NAME: a virtual environment with one peer, for `python -m benchmarks.peers`.
#
# Usage: scripts/make_venv_peers.sh NAME [FOLDER]
#   NAME     litellm, semantic-router, thinkbudget or llmrouter-lib
#   FOLDER   where the environments lie (default: .venv-peers beside this repository's files)
#
# Each peer gets an environment of its own, so that no peer decides the versions of another's
# dependencies, and none of them is ever imported by this project. Running the script again does
# nothing when the environment is complete.
# Needs Python 3.11 or newer (PYTHON=... to choose one); disk: litellm 0.5 GB, semantic-router
# 0.6 GB, thinkbudget 0.2 GB, llmrouter-lib 2.2 GB.
set -euo pipefail

TORCH_VERSION="2.13.0"
# Our embedding (words, then a truncated decomposition), for the peers that need one.
SCIKIT_LEARN="scikit-learn==1.8.0"

name="${1:?usage: make_venv_peers.sh NAME [FOLDER]}"
extra=()
case "$name" in
    litellm) version="1.106.2" ;;
    semantic-router) version="1.1.1"; extra=("$SCIKIT_LEARN") ;;
    thinkbudget) version="0.1.0" ;;
    llmrouter-lib) version="0.4.0"; extra=("$SCIKIT_LEARN") ;;
    *) echo "no peer '$name'; there are litellm, semantic-router, thinkbudget, llmrouter-lib" >&2; exit 2 ;;
esac

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${2:-$root/.venv-peers}/$name"
marker="$venv/.complete-$name-$version"

if [[ -f "$marker" ]]; then
    echo "$venv is complete" >&2
    exit 0
fi

[[ -x "$venv/bin/python" ]] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

if [[ "$name" == llmrouter-lib ]]; then
    # The CPU build where an index has it, else the plain one, which brings gigabytes of CUDA.
    pip install --quiet "torch==$TORCH_VERSION+cpu" || pip install --quiet "torch==$TORCH_VERSION"
    extra+=("torch==$("$venv/bin/python" -c 'from importlib.metadata import version; print(version("torch"))')")
fi
pip install --quiet "$name==$version" ${extra[@]+"${extra[@]}"}
touch "$marker"
echo "$venv is complete" >&2
