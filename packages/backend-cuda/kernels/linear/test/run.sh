#!/usr/bin/env bash
# Builds and runs the tests of linear's forms on the emulator; with --sanitize under AddressSanitizer and
# UndefinedBehaviorSanitizer. Needs g++ only.
set -euo pipefail
cd "$(dirname "$0")/../../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=(-O2)
if [ "${1:-}" = --sanitize ]; then flags=(-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all); fi
for source in emu/src/*.cc kernels/linear/*.cu kernels/linear/test/linear_test.cc; do
  g++ -std=c++17 -Wall -Wextra -Wno-unknown-pragmas -Iemu/include -Iemu -I. "${flags[@]}" -c -x c++ "$source" -o "$out/$(basename "$source").o"
done
g++ "${flags[@]}" "$out"/*.o -o "$out/linear_test"
"$out/linear_test"
"$out/linear_test" --shallow-rings
