#!/usr/bin/env bash
# Trains all stages, one after the other; stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")"
trl grpo --config 1_grpo.yaml --accelerate_config zero3 --num_processes 8
