#!/usr/bin/env bash
# Runs stages on a machine with a GPU, in the order in which they are named, each under its cap: window.sh STAGE... Output goes
# to build/results/STAGE.jsonl line by line, and after every stage the whole folder to $OUT/results.tar.gz, where OUT is set.
# Stages: unpack probe conformance wgmma golden layer kernels torch ops decode formats adapters throughput parity generate queue. queue runs the run.sh of every folder of build/queue.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
out=$here/build/results
mkdir -p "$out"
cd "$root"
export PATH=/tmp/quire-stage:$PATH

stage() {
  local name=$1 cap=$2
  shift 2
  local start=$SECONDS
  timeout -k 5 "$cap" "$@" > "$out/$name.jsonl" 2> "$out/$name.err"
  local code=$?
  [[ -s $out/$name.err ]] || rm -f "$out/$name.err"
  if [[ -n ${OUT:-} ]]; then tar -C "$out" -czf "$OUT/results.tar.gz" .; fi
  echo "{\"stage\":\"$name\",\"code\":$code,\"seconds\":$((SECONDS - start))}"
}

unpack() {
  mkdir -p /tmp/quire-stage
  xz -dc "$here/build/stage.tar.xz" | tar -C /tmp/quire-stage -xf -
  xz -dc "$here/build/node.xz" > /tmp/quire-stage/node
  chmod +x /tmp/quire-stage/node
  cp -a /tmp/quire-stage/tree/. "$root/"
  node --version
}

for name in "$@"; do
  case $name in
    unpack) unpack || exit 1 ;;
    probe) stage probe 190 env OUT="$out" bash scripts/gpu-probe/run.sh && cat "$out/probe.jsonl" | tail -n 40 ;;
    conformance) stage conformance 75 node scripts/gpu-suite/conformance.mjs cuda full; grep -v "\"failed\":0," "$out/conformance.jsonl" ;;
    wgmma) stage wgmma 30 node scripts/gpu-suite/conformance.mjs cuda-wgmma full pagedAttention; cat "$out/wgmma.jsonl" ;;
    golden) stage golden 60 node scripts/gpu-suite/golden.mjs cuda; tail -n 20 "$out/golden.jsonl" ;;
    kernels) stage kernels 100 "$here/build/kernel-bench" 85; tail -n 3 "$out/kernels.jsonl" ;;
    # A persistent launch for layers of small models beside a launch for each operation.
    layer) stage layer 40 "$here/build/kernel-bench" 35 layer; cat "$out/layer.jsonl" ;;
    torch) stage torch 80 python3 scripts/gpu-suite/baseline.py 55; tail -n 3 "$out/torch.jsonl" ;;
    ops) stage ops 60 node packages/server/dist/cli/main.js bench ops --device cuda --json ;;
    decode) stage decode 100 node scripts/gpu-suite/decode.mjs 60 llama-3.1-8b:1,16,64 opt-125m:1,64,256 qwen3-0.6b:1,64,256; cat "$out/decode.jsonl" "$out/decode.err" 2> /dev/null | tail -n 60 ;;
    formats)
      for format in quantization:q8 quantization:q4_32 quantization:q4_128z kvCacheDtype:int8 kvCacheDtype:fp8; do
        stage "formats-${format#*:}" 60 env ENGINE="{\"${format%:*}\":\"${format#*:}\"}" node scripts/gpu-suite/decode.mjs 45 llama-3.1-8b:1,16,64
        grep '"decode"' "$out/formats-${format#*:}.jsonl"
      done
      # Products of our own alone, beside those of cuBLASLt in `decode`.
      stage formats-own 60 env ENGINE='{"batchInvariant":true}' node scripts/gpu-suite/decode.mjs 45 llama-3.1-8b:1,16,64 ;;
    adapters) stage adapters 90 node scripts/gpu-suite/adapters.mjs 60 llama-3.1-8b:1,16,64 qwen3-0.6b:1,16,64; cat "$out/adapters.jsonl" ;;
    throughput)
      python3 scripts/gpu-suite/workload.py /tmp/workload.json
      stage throughput 60 node scripts/gpu-suite/throughput.mjs /tmp/workload.json opt-125m qwen3-0.6b llama-3.1-8b
      cat "$out"/throughput.* ;;
    parity)
      for model in llama-3.2-1b qwen3-0.6b; do
        stage "transformers-$model" 60 python3 scripts/gpu-suite/parity.py "test/bench/models/$model/config.json" "/tmp/parity-$model"
        stage "parity-$model" 40 node scripts/gpu-suite/parity.mjs "/tmp/parity-$model"
        cat "$out"/parity-$model.*
      done ;;
    generate)
      for model in llama-3.1-8b qwen3-0.6b opt-125m; do
        stage "generate-$model" 60 python3 scripts/gpu-suite/generate.py "test/bench/models/$model/config.json" 40
        cat "$out/generate-$model.jsonl"
      done ;;
    queue) for folder in "$here"/build/queue/*/; do stage "queue-$(basename "$folder")" 20 bash "$folder/run.sh"; done ;;
    *) echo "window.sh: unknown stage $name" >&2; exit 2 ;;
  esac
done
