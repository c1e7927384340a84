// As calibration.cu, of products on warpgroups.
#include "kernels/lib/wgmma.h"

// One product with A in shared memory and two with A in registers.
extern "C" __global__ void calibrateWgmma(const uint4* from, float* to) {
  DYN_SHARED(char, shared);
  if constexpr (quire::kHasWgmma) {
    const uint64_t operand = quire::wgmmaOperand(shared);
    const uint4 four = from[threadIdx.x];
    const uint32_t a[4] = {four.x, four.y, four.z, four.w};
    float wide[16][4], narrow[8][4] = {};
    quire::wgmmaFence();
    quire::wgmmaShared<__half>(wide, operand, quire::advanced(operand, 8192), false);
    quire::wgmmaRegisters<__half, 128>(wide, a, operand);
    quire::wgmmaRegisters<__half, 64>(narrow, a, operand);
    quire::wgmmaCommit();
    quire::wgmmaWait<0>();
    quire::pinRegisters(wide), quire::pinRegisters(narrow);
    for (int j = 0; j < 16; j++) to[j * 128 + threadIdx.x] = wide[j][0] + wide[j][1] + wide[j][2] + wide[j][3] + narrow[j / 2][j % 2];
  }
}
