#!/usr/bin/env bash
# Trains all stages, one after the other; stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")"
AXOLOTL_DO_NOT_TRACK=1 axolotl train 1_sft.yaml --launcher torchrun -- --nproc_per_node=8
