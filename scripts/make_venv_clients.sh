#!/usr/bin/env bash
# Build .venv-clients/NAME: a virtual environment with one client of OpenAI-compatible servers,
# for the tests marked `clients`, which point each at `advisor serve` by nothing but its address.
#
# Usage: scripts/make_venv_clients.sh [NAME] [FOLDER]
#   NAME     llm, lm-eval or inspect; all of them when it is not given or "all"
#   FOLDER   where the environments lie (default: .venv-clients beside this repository's files)
#
# Each client gets an environment of its own, so that none decides the versions of another's
# dependencies or of ours. Running the script again does nothing when they are complete.
# Needs Python 3.11 or newer (PYTHON=... to choose one); disk: llm 0.1 GB, lm-eval 0.7 GB,
# inspect 0.5 GB.
set -euo pipefail

LLM_VERSION="0.36"
LM_EVAL_VERSION="0.4.13"
INSPECT_VERSION="0.3.246"
OPENAI_VERSION="3.54.0"

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="${2:-$root/.venv-clients}"

build() {
    local name="$1" marker version
    local packages=()
    case "$name" in
        llm) version="$LLM_VERSION"; packages=("llm==$LLM_VERSION" "openai==$OPENAI_VERSION") ;;
        lm-eval) version="$LM_EVAL_VERSION"; packages=("lm_eval[api]==$LM_EVAL_VERSION") ;;
        inspect) version="$INSPECT_VERSION"; packages=("inspect-ai==$INSPECT_VERSION" "openai==$OPENAI_VERSION") ;;
        *) echo "no client '$name'; there are llm, lm-eval, inspect" >&2; exit 2 ;;
    esac
    local venv="$folder/$name"
    marker="$venv/.complete-$name-$version"
    if [[ ! -f "$marker" ]]; then
        [[ -x "$venv/bin/python" ]] || "${PYTHON:-python3}" -m venv "$venv"
        "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "${packages[@]}"
        touch "$marker"
    fi
    echo "$venv is complete" >&2
}

case "${1:-all}" in
    all) for name in llm lm-eval inspect; do build "$name"; done ;;
    *) build "$1" ;;
esac
