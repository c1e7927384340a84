// What a cooperative launch asks of the chip.
#pragma once
#include "chip.h"
#if defined(EMU)
#include "src/cooperative.h"
#endif

// Whether all blocks of a cooperative launch are on the chip at once, as gridBarrier() needs. Nothing is launched.
template <class... Parameters>
cudaError_t fitsTogether(const GpuLaunch& l, [[maybe_unused]] void (*kernel)(Parameters...), int smCount, bool& fits) {
#if defined(EMU)
  fits = emu::hasCooperativeLaunches() && l.grid.x <= static_cast<unsigned>(smCount * emu::chip().blocksPerSm);
  return cudaSuccess;
#else
  int device = 0, cooperative = 0, perSm = 0;
  fits = false;
  if (l.dynamicSharedBytes > static_cast<size_t>(quire::sharedBytesPerBlock())) return cudaSuccess;
  cudaError_t e = cudaGetDevice(&device);
  if (e == cudaSuccess) e = cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, device);
  if (e == cudaSuccess) e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(l.dynamicSharedBytes));
  if (e == cudaSuccess) e = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&perSm, kernel, static_cast<int>(l.block.x), l.dynamicSharedBytes);
  fits = cooperative != 0 && static_cast<int64_t>(perSm) * smCount >= static_cast<int64_t>(l.grid.x);
  return e;
#endif
}
