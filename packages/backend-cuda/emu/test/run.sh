#!/usr/bin/env bash
# Builds and runs the emulator's own tests, plain and under AddressSanitizer and UndefinedBehaviorSanitizer, and the example of
# docs/cuda-emulator.md. Needs g++ only.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
compile() { g++ -std=c++17 -Wall -Wextra -Iinclude -I. "$@"; }
for source in src/*.cc; do compile -O2 -c "$source" -o "$out/$(basename "$source").o"; done
compile -O2 "$out"/*.o test/*.cc -x c++ test/*.cu -x none -o "$out/plain"
"$out/plain" 2> "$out/faults"
compile -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all src/*.cc test/*.cc -x c++ test/*.cu -x none -o "$out/sanitized"
"$out/sanitized" 2> "$out/faults"
if "$out/sanitized" --out-of-bounds 2> "$out/report"; then echo "AddressSanitizer missed a write out of bounds"; exit 1; fi
grep -q heap-buffer-overflow "$out/report"
echo "AddressSanitizer reports a write out of bounds"
example() { g++ -std=c++17 -O2 -Iinclude -I. -I.. "$@" "$out"/*.o -x c++ example/reverse.cu -o "$out/reverse" && { "$out/reverse" || true; }; }
echo "Example: $(example)"
echo "Without its barrier: $(example -DFORGET_BARRIER)"
