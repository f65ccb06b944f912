#!/usr/bin/env bash
# Build .venv-lm-eval: a virtual environment with lm-evaluation-harness, for the benchmark
# lm_eval_side_by_side, which runs it beside this project on the same server.
#
# Usage: scripts/make_venv_lm_eval.sh [FOLDER]     (default: .venv-lm-eval beside this repository's files)
#
# Only the client of OpenAI-compatible servers is wanted, so neither torch nor transformers is
# installed. Running the script again does nothing when the environment is complete.
# Needs Python 3.11 or newer (PYTHON=... to choose one) and about 700 MB of disk.
set -euo pipefail

LM_EVAL_VERSION="0.4.13"

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="${1:-$root/.venv-lm-eval}"
marker="$venv/.complete-lm-eval-$LM_EVAL_VERSION"

if [[ -f "$marker" ]]; then
    echo "$venv is complete" >&2
    exit 0
fi

[[ -x "$venv/bin/python" ]] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet "lm_eval[api]==$LM_EVAL_VERSION"

"$venv/bin/python" -c "import lm_eval.models.openai_completions; print('lm_eval', lm_eval.__version__)"
touch "$marker"
