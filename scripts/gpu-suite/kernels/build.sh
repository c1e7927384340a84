#!/usr/bin/env bash
# Builds the kernel bench for the GPU, from the objects of `npm run build:cuda`: build/kernel-bench. Needs nvcc, no GPU.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
backend=$here/../../../packages/backend-cuda
out=$here/../build
mkdir -p "$out/objects"
compiled=$backend/build/cuda/CMakeFiles/quire_cuda.dir
objects=$(cd "$backend" && for source in kernels/*.cu kernels/*/*.cu libraries/*.cc; do
  # Those on warpgroup products are a target of their own.
  case $source in *_wgmma.cu) echo "${compiled/quire_cuda.dir/quire_wgmma.dir}/$source.o" ;; *) echo "$compiled/$source.o" ;; esac
done)
if ! ls $objects > /dev/null; then
  echo "build.sh: kernels are not compiled; run npm run build:cuda first" >&2
  exit 1
fi
flags=(-std=c++17 -O3 -I"$backend" -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90)
for source in "$here"/*.cc "$here"/*.cu; do
  nvcc "${flags[@]}" -c "$source" -o "$out/objects/$(basename "$source").o"
done
nvcc -cudart static "$out"/objects/*.o $objects -ldl -o "$out/kernel-bench"
echo "$out/kernel-bench"
