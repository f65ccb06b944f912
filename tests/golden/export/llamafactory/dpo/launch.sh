#!/usr/bin/env bash
# Trains all stages, one after the other; stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")"
FORCE_TORCHRUN=1 NPROC_PER_NODE=8 llamafactory-cli train 1_dpo.yaml
