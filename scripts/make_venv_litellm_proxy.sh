#!/usr/bin/env bash
# Build .venv-litellm: a virtual environment with the litellm proxy, for `python -m benchmarks.serving`.
#
# Usage: scripts/make_venv_litellm_proxy.sh [FOLDER]
#   FOLDER   where the environment lies (default: .venv-litellm beside this repository's files)
#
# The proxy gets an environment of its own, so that it does not decide the versions of our
# dependencies and is never imported by this project. Running the script again does nothing when
# the environment is complete.
# Needs Python 3.11 or newer (PYTHON=... to choose one); disk: 0.8 GB.
set -euo pipefail

# The one that constraints.txt has for the library. Never 1.82.7 or 1.82.8: both were published by
# somebody else and steal credentials.
LITELLM_VERSION="1.106.2"

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${1:-$root/.venv-litellm}"
marker="$venv/.complete-$LITELLM_VERSION"

if [[ -f "$marker" ]]; then
    echo "$venv is complete" >&2
    exit 0
fi

[[ -x "$venv/bin/python" ]] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    "litellm[proxy]==$LITELLM_VERSION" "litellm!=1.82.7,!=1.82.8"
touch "$marker"
echo "$venv is complete" >&2
