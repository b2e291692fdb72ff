#!/usr/bin/env bash
# Train the bundled ladder in the minutes of a lent GPU: SlimRes, then a wider one if time is left.
#
#   tools/gpu_ladder.sh DATA VALID OUT            # ten minutes on a GPU, on the machine's own python3
#   DEVICE=cpu MINUTES=1 BATCH=4 tools/gpu_ladder.sh DATA VALID OUT   # a dry run
#
# Batches of 128 patches of 64 pixels in bfloat16, compiled to CUDA graphs; the number of steps follows from the time.
# Each network's folder in OUT ends with weights of about a megabyte, their log and model card.
set -euo pipefail
data=$1 valid=$2 out=$3
minutes=${MINUTES:-9}
sr=(env PYTHONPATH=. "${PYTHON:-python3}" -m srcli train slimres -x4 --data "$data" --valid "$valid"
    --device "${DEVICE:-cuda}" --batch "${BATCH:-128}" --patch 64 --validate-every "${EVERY:-2000}"
    --set precision=bfloat16 --set schedule=cosine --set learning_rate=2e-3)
if [ "${DEVICE:-cuda}" != cpu ]; then sr+=(--set compile=true); fi
"${sr[@]}" --init benchmarks/training/slimres-x4-2.safetensors --for "$((minutes * 60 * 2 / 3))s" --out "$out/slimres-x4"
"${sr[@]}" --set config.blocks=8 --set config.features=64 --for "$((minutes * 60 / 3))s" --out "$out/slimres-64-x4"
# Only what a report needs is copied back.
rm -rf "$out"/*/state.pt "$out"/*/samples
ls -l "$out"/*
