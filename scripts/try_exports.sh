#!/usr/bin/env bash
# Trains two steps of every stage of an export with the full library, on the CPU.
#
#   scripts/try_exports.sh EXPORT [VENV]
#
# EXPORT is a folder that `advisor export --to axolotl|llamafactory` wrote, with a small base model
# (models/pocket-s, say). VENV is an environment with the library in full; it is made, in
# .venv-axolotl (4.3 GB) or .venv-llamafactory (2.2 GB), if it is not there. The configurations stay
# as they are; what a machine without GPUs cannot do is overridden on the command line: bfloat16,
# DeepSpeed, GPU kernels, vLLM, and several processes. Shows the tokens seen up to each step;
# with STEPS=-1, all steps, they jump where the reasoning rows of an ordered recipe begin.
set -euo pipefail

export_folder=$(cd "${1:?usage: scripts/try_exports.sh EXPORT [VENV]}" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
library=$("${PYTHON:-python3}" -c '
import json, sys
print(json.load(open(sys.argv[1] + "/manifest.json"))["library"]["name"])' "$export_folder")
venv=$root/.venv-$library
if [ -n "${2:-}" ]; then venv=$(cd "$2" && pwd); fi
steps=${STEPS:-2}

case $library in
    axolotl) requirement=axolotl==0.19.0 ;;
    llamafactory) requirement=llamafactory==0.9.5 ;;
    *) echo "$library: make test-train runs its exports" >&2; exit 2 ;;
esac

if [ ! -e "$venv/.ready" ] && [ -z "${2:-}" ]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check torch==2.13.0 "$requirement"
    if [ "$library" = llamafactory ]; then
        # Both are built for GPUs on the package index, and stop the import without one.
        "$venv/bin/python" -m pip uninstall -q -y torchvision torchaudio
    fi
    touch "$venv/.ready"
fi

# A copy, so that the export stays as it was written.
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
cp -r "$export_folder/." "$room"
rm -rf "$room/out" "$room/prepared"
cd "$room"
export PATH="$venv/bin:$PATH" CUDA_VISIBLE_DEVICES= HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
export AXOLOTL_DO_NOT_TRACK=1

if [ "$library" = llamafactory ] && ! python -c 'import torchaudio' 2>/dev/null; then
    mkdir "$room/stand-in"
    printf '__version__ = "2.11.0"\n__spec__ = None\n' > "$room/stand-in/torchaudio.py"
    export PYTHONPATH="$room/stand-in"
fi

for config in [0-9]*_*.yaml; do
    echo "== $library: $config, $steps steps"
    if [ "$library" = axolotl ]; then
        # vLLM needs a GPU.
        sed -i -e 's/use_vllm: true.*/use_vllm: false/' -e '/vllm_mode:/d' "$config"
        PYTHONPATH=. axolotl train "$config" --launcher python --bf16=false --deepspeed= \
            --attn-implementation=sdpa --no-lora-mlp-kernel --no-lora-qkv-kernel \
            --no-lora-o-kernel --max-steps="$steps" --logging-steps=1 > log.txt 2>&1 \
            || { tail -n 30 log.txt; exit 1; }
        grep -o "'tokens/trainable': [^,}]*\|'reward': [^,}]*" log.txt || true
    else
        llamafactory-cli train "$config" use_cpu=true bf16=false deepspeed=null flash_attn=sdpa \
            max_steps="$steps" logging_steps=1 include_num_input_tokens_seen=all > log.txt 2>&1 \
            || { tail -n 30 log.txt; exit 1; }
        grep -o "'num_input_tokens_seen': [^,}]*" log.txt || true
    fi
done
