// mma.sync.m16n8k16, ldmatrix.m8n8.x4 and movmatrix.m8n8 over the warp's registers. Products of 16-bit values are exact in
// f32; sums run in the order of k, where the hardware's order is not specified.
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

namespace emu {

namespace {
float toFloat(__half, uint16_t bits) { return halfToFloat(bits); }
float toFloat(__nv_bfloat16, uint16_t bits) { return __bfloat162float({bits}); }
uint16_t part(uint32_t packed, int i) { return static_cast<uint16_t>(i == 0 ? packed : packed >> 16); }
}  // namespace

void ldmatrix(uint32_t (&r)[4], const void* row, bool transpose) {
  struct Slot { const uint16_t* row; uint32_t out[4]; } slot{static_cast<const uint16_t*>(row), {}};
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) current->block->fail("ldmatrix: a row address is not a multiple of 16");
  collective(kFull, opLdmatrix, &slot, transpose, [transpose](Slot** s, uint32_t) {
    for (int lane = 0; lane < kWarpSize; lane++) {
      for (int m = 0; m < 4; m++) {
        const int major = lane / 4, minor = lane % 4 * 2;
        const uint16_t low = transpose ? s[8 * m + minor]->row[major] : s[8 * m + major]->row[minor];
        const uint16_t high = transpose ? s[8 * m + minor + 1]->row[major] : s[8 * m + major]->row[minor + 1];
        s[lane]->out[m] = low | static_cast<uint32_t>(high) << 16;
      }
    }
  });
  for (int i = 0; i < 4; i++) r[i] = slot.out[i];
  recordAccess(RequestLog::Kind::shared, 0, row, 16);
}

uint32_t movmatrix(uint32_t pair) {
  struct Slot { uint32_t in, out; } slot{pair, 0};
  collective(kFull, opMovmatrix, &slot, 0, [](Slot** s, uint32_t) {
    for (int lane = 0; lane < kWarpSize; lane++) {
      const int row = lane / 4, column = lane % 4 * 2;
      const uint16_t low = part(s[4 * column + row / 2]->in, row % 2), high = part(s[4 * (column + 1) + row / 2]->in, row % 2);
      s[lane]->out = low | static_cast<uint32_t>(high) << 16;
    }
  });
  return slot.out;
}

template <class T>
void mma16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Slot { float* d; const uint32_t* a; const uint32_t* b; } slot{d, a, b};
  collective(kFull, opMma, &slot, 0, [](Slot** s, uint32_t) {
    float A[16][16], B[16][8];
    for (int lane = 0; lane < kWarpSize; lane++) {
      const int group = lane / 4, pair = lane % 4 * 2;
      for (int i = 0; i < 8; i++) A[group + 8 * (i / 2 % 2)][pair + i % 2 + 8 * (i / 4)] = toFloat(T{}, part(s[lane]->a[i / 2], i % 2));
      for (int i = 0; i < 4; i++) B[pair + i % 2 + 8 * (i / 2)][group] = toFloat(T{}, part(s[lane]->b[i / 2], i % 2));
    }
    for (int lane = 0; lane < kWarpSize; lane++) {
      for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
        float sum = s[lane]->d[i];
        for (int k = 0; k < 16; k++) sum += A[row][k] * B[k][column];
        s[lane]->d[i] = sum;
      }
    }
  });
}
template void mma16816<__half>(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2]);
template void mma16816<__nv_bfloat16>(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2]);

}  // namespace emu
