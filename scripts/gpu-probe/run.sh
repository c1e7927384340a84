#!/usr/bin/env bash
# Runs the probe and keeps its results: run.sh [STAGE...]. Results go to $OUT, or to build/results: results.jsonl, the fixtures of
# the fragments stage, and what nvidia-smi says before and after. Prints the headlines last. With stages named, their lines
# are appended to the results that are there.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/build/results}
probe=$here/build/gpu-probe
mkdir -p "$out"

# A program built elsewhere may not start here: then build it here.
if ! "$probe" --stages > /dev/null 2>&1; then
  built=$(mktemp -d)
  "$here/build.sh" cuda "$built" || exit 1
  probe=$built/gpu-probe
fi

smi() {
  if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=timestamp,name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.draw,power.limit,temperature.gpu,ecc.mode.current --format=csv >> "$out/nvidia-smi.csv" 2>&1
  fi
}
if [[ $# == 0 ]]; then rm -f "$out/results.jsonl" "$out/nvidia-smi.csv"; fi
smi
"$probe" "$out" "$@" | tee -a "$out/results.jsonl" | grep --line-buffered -v '"headline"'
code=${PIPESTATUS[0]}
smi
echo "--- $out"
grep -h -e '"headline"' -e '"error"' -e '"unfinished"' "$out/results.jsonl"
exit "$code"
