#!/usr/bin/env bash
# Measure pocket-m and fit the router that ships with the package (a few minutes on two cores).
set -euo pipefail
cd "$(dirname "$0")/.."
advisor="${ADVISOR:-.venv/bin/advisor}"
run="${1:-runs/bundled}"
"$advisor" calibrate --model pocket-m --tasks pocket \
  --policies direct,reasoning@8,reasoning@16,reasoning@max --limit 800 --seed 7 --yes --out "$run"
"$advisor" fit "$run" --out router/bundled --overwrite
