#!/usr/bin/env bash
# Builds the probe: build.sh [cuda|emu] [FOLDER]. cuda (the default) needs nvcc and gives build/gpu-probe for sm_80 and sm_90,
# which starts on any Linux x64 with glibc 2.34; emu needs g++ alone and gives build/gpu-probe-emu, which runs the same stages,
# small, on the emulator. Compiles only what is older than a source or header.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
backend=$here/../../packages/backend-cuda
flavour=${1:-cuda}
out=${2:-$here/build}
includes=(-I"$here/src" -I"$backend")
sources=("$here"/src/*.cc "$here"/src/*.cu "$backend"/libraries/library.cc)
warnings="-Wall -Wextra"
case $flavour in
  cuda)
    compile=(nvcc -std=c++17 -O3 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90 -Xcompiler "${warnings// /,}")
    # Products on warpgroups, empty on other chips.
    compile_wgmma=(nvcc -std=c++17 -O3 -gencode "arch=compute_80,code=[sm_80,compute_80]" -gencode "arch=compute_90a,code=[sm_90a]" -Xcompiler "${warnings// /,}")
    link=(nvcc -cudart static)
    libraries=(-ldl)
    program=$out/gpu-probe
    ;;
  emu)
    compile=(g++ -std=c++17 -O1 $warnings -Wno-unknown-pragmas)
    compile_wgmma=("${compile[@]}")
    link=(g++ -pthread)
    libraries=(-ldl)
    includes=(-I"$backend/emu/include" -I"$backend/emu" "${includes[@]}")
    sources+=("$backend"/emu/src/*.cc)
    program=$out/gpu-probe-emu
    ;;
  *)
    echo "build.sh: unknown flavour $flavour; known are cuda and emu" >&2
    exit 2
    ;;
esac
objects=$out/objects-$flavour
mkdir -p "$objects"
exec 9> "$objects/lock"
flock 9
newest=$(ls -t "$here/build.sh" "$here"/src/*.h "$backend"/libraries/*.h "$backend"/kernels/lib/gpu.h "$backend"/kernels/lib/wgmma.h "$backend"/emu/*.h "$backend"/emu/include/*.h "$backend"/emu/src/*.h | head -1)
commit=$(git -C "$here" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)

list=()
for source in "${sources[@]}"; do
  # Files of one name lie in several folders.
  object=$objects/$(realpath --relative-to="$here/../.." "$source" | tr / -).o
  list+=("$object")
  # The commit of the build changes without its source.
  if [[ $source != */probe.cc && $object -nt $source && $object -nt $newest ]]; then continue; fi
  language=()
  if [[ $flavour == emu ]]; then language=(-x c++); fi
  command=("${compile[@]}")
  if [[ $source == *_wgmma.cu ]]; then command=("${compile_wgmma[@]}"); fi
  "${command[@]}" "${includes[@]}" -DPROBE_COMMIT="\"$commit\"" "${language[@]}" -c "$source" -o "$object.new"
  mv "$object.new" "$object"
done
"${link[@]}" "${list[@]}" "${libraries[@]}" -o "$program.new"
mv "$program.new" "$program"

if [[ $flavour == cuda ]]; then
  needed=$(objdump -T "$program" | grep -o 'GLIBC_2\.[0-9]*' | sort -Vu | tail -1)
  if [[ $(printf '%s\n' GLIBC_2.34 "$needed" | sort -V | tail -1) != GLIBC_2.34 ]]; then
    echo "build.sh: $program needs $needed, newer than GLIBC_2.34" >&2
    exit 1
  fi
fi
echo "$program"
