#!/usr/bin/env bash
# Rerun the experiments on training methods (distillation or GRPO, TOPS, Iter-DPO) on one core.
#
# Usage: scripts/study_methods.sh BASES [OUT]
#   BASES   base models, SIZE/model each, as `python -m calibration.pocket.base --out BASES/SIZE` makes
#   OUT     results and starting students (default: runs/methods); runs with a result are kept, and
#           results that another base or other settings have made are refused
#
# Needs the extra `train` with onnx and onnxruntime-genai; PYTHON=... chooses the interpreter,
# EXPERIMENTS and SEEDS what is run, SIZES the students' sizes, SKILLS those of models with skills.
# TABLE is where the table goes; TABLE= writes none, for a part of the runs beside another one.
set -euo pipefail
cd "$(dirname "$0")/.."
bases="${1:?usage: scripts/study_methods.sh BASES [OUT]}"
out="${2:-runs/methods}"
table="${TABLE-advisor/study/tables/pocket-methods}"
wanted="${EXPERIMENTS:-grpo,tops,dpo}"
export OMP_NUM_THREADS=1
for experiment in ${wanted//,/ }; do
  sizes="${SKILLS:-pocket-s}"
  if [[ $experiment == grpo ]]; then sizes="${SIZES:-pocket-xs,pocket-s}"; fi
  "${PYTHON:-.venv-train/bin/python}" -m calibration.pocket.methods --bases "$bases" --out "$out" \
    --experiments "$experiment" --sizes "$sizes" --seeds "${SEEDS:-1,2}" \
    ${table:+--collect "$table"}
done
