#!/usr/bin/env bash
# Packs what a bare machine with a GPU needs beside a copy of the working tree into build/stage.tar.xz: Node, the compiled
# TypeScript, the few packages that run, the addon, the probe and the kernel bench, and build/queue; and Node into build/node.xz.
# Run `npm run build`, `npm run build:cuda` and the two build.sh first.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=scripts/gpu-suite/build
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Node stays as it is from one stage to the next.
if [[ ! -f $out/node.xz ]]; then strip -o "$work/node" "$(command -v node)" && xz -6 -T2 < "$work/node" > "$out/node.xz"; fi
mkdir -p "$work/tree"
for package in packages/core packages/server packages/backend-cuda packages/backend-webgpu test/conformance; do
  mkdir -p "$work/tree/$package"
  cp -a "$package/dist" "$work/tree/$package/"
done
mkdir -p "$work/tree/packages/backend-cuda/build/cuda/Release"
cp packages/backend-cuda/build/cuda/Release/quire_cuda.node "$work/tree/packages/backend-cuda/build/cuda/Release/"
mkdir -p "$work/tree/node_modules"
cp -a node_modules/@quire "$work/tree/node_modules/"
npm ls --omit=dev --all --parseable | sed "s#^$PWD/##" | grep '^node_modules/' | grep -v -e '^node_modules/@quire' -e '^node_modules/webgpu$' | sort -u | tar -cf - -T - | tar -C "$work/tree" -xf -
if [[ ${1:-} == --dawn ]]; then
  mkdir -p "$work/tree/node_modules/webgpu"
  cp -a node_modules/webgpu/package.json node_modules/webgpu/index.js "$work/tree/node_modules/webgpu/"
  mkdir -p "$work/tree/node_modules/webgpu/dist"
  cp -a node_modules/webgpu/dist/linux-x64 "$work/tree/node_modules/webgpu/dist/"
fi
for program in scripts/gpu-suite/build/kernel-bench scripts/gpu-probe/build/gpu-probe; do
  if [[ -f $program ]]; then mkdir -p "$work/tree/$(dirname $program)" && strip -o "$work/tree/$program" "$program"; fi
done
if [[ -d $out/queue ]]; then cp -a --parents "$out/queue" "$work/tree/"; fi
tar -C "$work" -cf - tree | xz -2 -T2 > "$out/stage.tar.xz"
ls -l "$out"/*.xz
