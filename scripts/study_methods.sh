#!/usr/bin/env bash
# Rerun the experiments on training methods (distillation or GRPO, TOPS, Iter-DPO) on one core.
#
# Usage: scripts/study_methods.sh BASES [OUT]
#   BASES   base models, SIZE/model each, as `python -m calibration.pocket.base --out BASES/SIZE` makes
#   OUT     results and starting students (default: runs/methods); runs with a result are kept
#
# Needs the extra `train` with onnx and onnxruntime-genai; PYTHON=... chooses the interpreter,
# SIZES, SEEDS and EXPERIMENTS what is run, TABLE where the table goes.
set -euo pipefail
cd "$(dirname "$0")/.."
bases="${1:?usage: scripts/study_methods.sh BASES [OUT]}"
out="${2:-runs/methods}"
export OMP_NUM_THREADS=1
exec "${PYTHON:-.venv-train/bin/python}" -m calibration.pocket.methods \
  --bases "$bases" --out "$out" \
  --experiments "${EXPERIMENTS:-grpo,tops,dpo}" --sizes "${SIZES:-pocket-xs,pocket-s}" \
  --seeds "${SEEDS:-1,2}" --collect "${TABLE:-advisor/study/tables/pocket-methods}"
