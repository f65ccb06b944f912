#!/usr/bin/env bash
# Trains all stages, one after the other; stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")"
trl sft --config 1_sft.yaml --accelerate_config single_gpu --num_processes 1
