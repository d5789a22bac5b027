#!/usr/bin/env bash
# Trains and evaluates the models of results/mnist.md, two at a time, one thread each.
# Run it again after an interruption: what is finished is kept, what was cut off is resumed.
#
#   FISHERAE_DATA=path/to/data results/mnist.sh      (the folder that holds mnist/)
set -euo pipefail
cd "$(dirname "$0")/.."

BIN=${BIN:-.venv/bin}
OUT=${OUT:-runs/results-mnist}
IMAGES=${IMAGES:-15000}
EPOCHS=${EPOCHS:-8}
export OMP_NUM_THREADS=1

model() {
  local name=$1 recipe=$2 resume=()
  shift 2
  if [ ! -d "$OUT/$name/model" ]; then
    [ -d "$OUT/$name" ] && resume=(--resume)
    "$BIN/fisherae" train "$recipe" "$@" --limit "$IMAGES" --epochs "$EPOCHS" \
      --device cpu --out "$OUT/$name" "${resume[@]}" 2> >(tee -a "$OUT/$name.log" >&2)
  fi
  [ -f "$OUT/$name/robustness-noise.json" ] || "$BIN/fisherae" evaluate "$OUT/$name"
  [ -f "$OUT/$name/robustness-mask.json" ] \
    || "$BIN/fisherae" evaluate "$OUT/$name" --corruption mask
  [ -f "$OUT/$name/samples.png" ] || "$BIN/fisherae" sample "$OUT/$name"
}

mkdir -p "$OUT"
first() {
  model fisher mnist-fisher
  model vae-batch-norm mnist-vae --encoder-normalization batch --encoder-activation leaky_relu
  model wae-gan mnist-wae-gan
}
second() {
  model vae mnist-vae
  model fisher-paper mnist-fisher --preset paper
  model vae-paper mnist-vae --preset paper
}
first & one=$!
second & two=$!
wait $one && ok=1 || ok=0
wait $two || ok=0
[ $ok = 1 ] || { echo "a training failed, see above; run this again to go on" >&2; exit 1; }
"$BIN/python" results/collect.py "$OUT" results/mnist
