// linear and gatedLinear with bf16 and with quantised weights: each form at the projections of real models.
#include "cases.h"

namespace budgets {
namespace {

using namespace quire;

struct Projection {
  const char *kernel, *model;
  int rows, n, k;
  bool gated, batchInvariant;
  // The emulated size. smallN 0: as many 16-row tiles of the weight to an SM as at the real size, which decide on the instance.
  int smallRows, smallN, smallK;
  DType activations = DType::bf16, weights = DType::bf16;
};

int smallColumns(const Projection& p, int smCount) {
  if (p.smallN > 0) return p.smallN;
  const int tiles = (p.gated ? 2 : 1) * p.n / 16, fewTiles = (tiles * kEmulatedSms + smCount - 1) / smCount;
  return fewTiles * 16 / (p.gated ? 2 : 1);
}

// Of quantised weights: a record, as the contract's dtypes.ts states it, of whole packs of columns.
int64_t rowBytes(DType dtype, int64_t columns) {
  auto record = [&](int64_t codes, int64_t scales) { return (codes + scales + 31) / 32 * 32; };
  if (dtype == DType::q8) return record(columns, 4);
  if (dtype == DType::q4_32) return record(columns / 2, columns / 32 * 2);
  if (dtype == DType::q4_128) return record(columns / 2, columns / 128 * 2);
  if (dtype == DType::q4_128z) return record(columns / 2, columns / 128 * 4);
  return 2 * columns;
}

Case makeCase(const Projection& p, Scale scale, int smCount) {
  const bool small = scale == Scale::small;
  const int rows = small ? p.smallRows : p.rows, n = small ? smallColumns(p, smCount) : p.n, k = small ? p.smallK : p.k;
  const Tensor x = makeTensor(p.activations, rows, k, Traffic::cached), out = makeTensor(p.activations, rows, n, Traffic::cached);
  // Many rows share weights through the second cache.
  const int weightRows = p.gated ? 2 * n : n;
  const int64_t weightBytes = weightRows * rowBytes(p.weights, k);
  const Tensor weight{allocate(weightBytes, p.rows <= 64 ? Traffic::streamed : Traffic::shared), p.weights, weightRows, k};
  const double flops = 2.0 * rows * weight.rows * k;
  const bool invariant = p.batchInvariant, gated = p.gated;
  const Linear plain{x, weight, out, {}, {}, Activation::none, 0};
  const GatedLinear gatedOp{x, weight, out, {}, Activation::silu};
  auto launch = [=](int sms) {
    const size_t bytes = gated ? gatedLinearWorkspace(gatedOp, invariant, nullptr) : linearWorkspace(plain, invariant, nullptr);
    const Step step{{}, {allocate(bytes, Traffic::cached), bytes}, sms, nullptr, invariant};
    return gated ? gatedLinear(gatedOp, step) : linear(plain, step);
  };
  return {p.kernel, std::string(p.model) + ", " + text(rows) + " x " + text(k) + " -> " + text(n), bytesOf(x) + static_cast<double>(weightBytes) + bytesOf(out), flops, launch};
}

// A norm and the projection behind it, in one launch.
struct NormedProjection {
  const char *kernel, *model;
  int rows, n, k;
  bool gated, centred;
  // The emulated size; as many tiles of the weight to an SM as at the real size.
  int smallK;
};

Case makeNormedCase(const NormedProjection& p, Scale scale, int smCount) {
  const bool small = scale == Scale::small, gated = p.gated;
  const Projection sizes{p.kernel, p.model, p.rows, p.n, p.k, gated, true, p.rows, 0, p.smallK};
  const int n = small ? smallColumns(sizes, smCount) : p.n, k = small ? p.smallK : p.k;
  const Tensor x = makeTensor(DType::bf16, p.rows, k, Traffic::cached), out = makeTensor(DType::bf16, p.rows, n, Traffic::cached);
  const Tensor weight = makeTensor(DType::bf16, gated ? 2 * n : n, k, Traffic::streamed), scales = makeTensor(DType::bf16, 1, k, Traffic::cached);
  const Tensor shifts = p.centred ? makeTensor(DType::bf16, 1, k, Traffic::cached) : Tensor{};
  const NormedInput norm{{scales, shifts, 1e-5f, p.centred}};
  auto launch = [=](int sms) {
    const Step step{{}, {}, sms, nullptr};
    return gated ? normedLinear(GatedLinear{x, weight, out, {}, Activation::silu}, norm, step) : normedLinear(Linear{x, weight, out, {}, {}, Activation::none, 0}, norm, step);
  };
  const double bytes = bytesOf(x) + bytesOf(weight) + bytesOf(out) + bytesOf(scales) + (p.centred ? bytesOf(shifts) : 0);
  return {p.kernel, std::string(p.model) + ", " + text(p.rows) + " x " + text(k) + " -> " + text(n), bytes, 2.0 * p.rows * weight.rows * k, launch};
}

// A norm, the projection of Llama 3.1 8B behind it, and the rotation and cache write of that, in one launch.
Case makeRotatedCase(const char* kernel, int rows, Scale scale) {
  const bool small = scale == Scale::small;
  const int heads = small ? 8 : 32, kvHeads = small ? 2 : 8, headDim = small ? 16 : 128, k = 4096, n = (heads + 2 * kvHeads) * headDim;
  const Tensor x = makeTensor(DType::bf16, rows, k, Traffic::cached), out = makeTensor(DType::bf16, rows, n, Traffic::cached);
  const Tensor weight = makeTensor(DType::bf16, n, k, Traffic::streamed), scales = makeTensor(DType::bf16, 1, k, Traffic::cached);
  const NormedInput norm{{scales, {}, 1e-5f, false}};
  RopeKvWrite write{};
  write.qkv = out, write.rotaryDim = headDim, write.shape = {heads, kvHeads, headDim, 16};
  write.positions = makeTensor(DType::u32, rows, 1, Traffic::cached), write.slotMapping = makeTensor(DType::u32, rows, 1, Traffic::cached);
  write.table = makeTensor(DType::f32, 1, headDim, Traffic::cached);
  write.kCache = makeTensor(DType::bf16, 1, 16 * kvHeads * headDim, Traffic::cached), write.vCache = makeTensor(DType::bf16, 1, 16 * kvHeads * headDim, Traffic::cached);
  // Each row has a slot of its own.
  fill<uint32_t>(write.slotMapping, [](int64_t i) { return static_cast<uint32_t>(i); });
  auto launch = [=](int sms) {
    const size_t bytes = workspaceBytes(0);
    return rotatedLinear({x, weight, out, {}, {}, Activation::none, 0}, norm, write, {{}, {allocate(bytes, Traffic::cached), bytes}, sms, nullptr});
  };
  const double cached = 2.0 * 2 * rows * kvHeads * headDim;
  return {kernel, "8B qkv, " + text(rows) + " x " + text(k) + " -> " + text(n), bytesOf(x) + bytesOf(weight) + 2 * bytesOf(out) + bytesOf(scales) + cached, 2.0 * rows * n * k, launch};
}

}  // namespace

std::vector<Case> linearCases(Scale scale, int smCount) {
  const Projection projections[] = {
      {"linearGemv f32 activations, 1 row", "8B qkv", 1, 6144, 4096, false, true, 1, 512, 1024, DType::f32},
      {"linearGemv f32 activations, 4 rows", "8B down", 4, 4096, 14336, false, true, 4, 512, 1024, DType::f32},
      {"gatedLinearGemv f32 activations, 1 row", "8B gate and up", 1, 14336, 4096, true, true, 1, 512, 1024, DType::f32},
      {"linearSwapAb 1 row", "8B qkv", 1, 6144, 4096, false, true, 1, 0, 2048},
      {"linearSwapAb 1 row", "8B down", 1, 4096, 14336, false, true, 1, 0, 2048},
      {"linearSwapAb 1 row", "8B head", 1, 128256, 4096, false, true, 1, 0, 2048},
      {"linearSwapAb 1 row", "Qwen3-0.6B qkv", 1, 4096, 1024, false, true, 1, 0, 1024},
      {"linearSwapAb 16 rows", "8B qkv", 16, 6144, 4096, false, true, 16, 0, 2048},
      {"linearSwapAb 32 rows", "8B qkv", 32, 6144, 4096, false, true, 32, 0, 2048},
      {"linearSwapAb 64 rows, low tile", "8B o", 64, 4096, 4096, false, true, 64, 0, 2048},
      {"linearSwapAb 64 rows, tall tile", "8B head", 64, 128256, 4096, false, true, 64, 0, 512},
      {"gatedLinearSwapAb 1 row", "8B gate and up", 1, 14336, 4096, true, true, 1, 0, 2048},
      {"gatedLinearSwapAb 64 rows", "8B gate and up", 64, 14336, 4096, true, true, 64, 0, 512},
      // As many parts of K as at the real size.
      {"linearSplit 32 rows", "8B qkv", 32, 6144, 4096, false, false, 32, 6144, 4096},
      {"linearSplit 64 rows", "8B qkv", 64, 6144, 4096, false, false, 64, 6144, 4096},
      {"gatedLinearSplit 64 rows", "8B gate and up", 64, 14336, 4096, true, false, 64, 11520, 512},
      {"linearSplit 2048 rows", "8B qkv", 2048, 6144, 4096, false, false, 640, 512, 224},
      {"linearQuantGemv q4_32, f32 activations, 1 row", "8B qkv", 1, 6144, 4096, false, true, 1, 512, 2048, DType::f32, DType::q4_32},
      {"linearQuantGemv q4_32, f32 activations, 4 rows", "8B down", 4, 4096, 14336, false, true, 4, 512, 2048, DType::f32, DType::q4_32},
      {"linearQuantGemv q8, f32 activations, 4 rows", "8B down", 4, 4096, 14336, false, true, 4, 512, 2048, DType::f32, DType::q8},
      {"linearQuantSwapAb q8, 1 row", "8B qkv", 1, 6144, 4096, false, true, 1, 0, 2048, DType::bf16, DType::q8},
      {"linearQuantSwapAb q4_32, 1 row", "8B qkv", 1, 6144, 4096, false, true, 1, 0, 4096, DType::bf16, DType::q4_32},
      {"linearQuantSwapAb q4_128z, 1 row", "8B qkv", 1, 6144, 4096, false, true, 1, 0, 4096, DType::bf16, DType::q4_128z},
      {"linearQuantSwapAb q4_32, 1 row, low tile", "Qwen3-0.6B o", 1, 1024, 2048, false, true, 1, 0, 2048, DType::bf16, DType::q4_32},
      {"linearQuantSwapAb q4_128, 16 rows", "8B qkv", 16, 6144, 4096, false, true, 16, 0, 4096, DType::bf16, DType::q4_128},
      {"linearQuantSwapAb q4_32, 32 rows", "8B qkv", 32, 6144, 4096, false, true, 32, 0, 4096, DType::bf16, DType::q4_32},
      {"linearQuantSwapAb q4_32, 64 rows", "8B o", 64, 4096, 4096, false, true, 64, 0, 4096, DType::bf16, DType::q4_32},
      {"linearQuantSwapAb q8, 64 rows, tall tile", "8B gate and up", 64, 28672, 4096, false, true, 64, 0, 2048, DType::bf16, DType::q8},
      {"linearQuantTiled q8, 2048 rows", "8B qkv", 2048, 6144, 4096, false, true, 256, 512, 512, DType::bf16, DType::q8},
      {"linearQuantTiled q4_32, 2048 rows", "8B qkv", 2048, 6144, 4096, false, true, 256, 512, 512, DType::bf16, DType::q4_32},
      {"linearQuantTiled q4_128z, 128 rows, small tile", "8B o", 128, 4096, 4096, false, true, 128, 128, 512, DType::bf16, DType::q4_128z},
      {"gatedLinearQuantSwapAb q4_32, 1 row", "8B gate and up", 1, 14336, 4096, true, true, 1, 0, 2048, DType::bf16, DType::q4_32},
      {"linearTiled large", "8B qkv", 2048, 6144, 4096, false, true, 256, 512, 512},
      {"linearTiled middle", "8B o", 256, 4096, 4096, false, true, 128, 128, 512},
      {"linearTiled small", "Qwen3-0.6B o", 128, 1024, 2048, false, true, 128, 32, 512},
      {"gatedLinearTiled large", "8B gate and up", 2048, 14336, 4096, true, true, 256, 512, 512},
  };
  std::vector<Case> cases;
  for (const Projection& p : projections) cases.push_back(makeCase(p, scale, smCount));
  const NormedProjection normed[] = {
      {"linearNormed 1 row", "8B qkv", 1, 6144, 4096, false, false, 2048},
      {"linearNormed 8 rows", "8B qkv", 8, 6144, 4096, false, false, 4096},
      {"linearNormed 1 row", "8B head", 1, 128256, 4096, false, false, 2048},
      {"linearNormed 4 rows", "Qwen3-0.6B qkv", 4, 4096, 1024, false, false, 1024},
      {"linearNormed 1 row, layerNorm", "opt-125m fc1", 1, 3072, 768, false, true, 768},
      {"gatedLinearNormed 1 row", "8B gate and up", 1, 14336, 4096, true, false, 2048},
      {"gatedLinearNormed 8 rows", "8B gate and up", 8, 14336, 4096, true, false, 4096},
  };
  for (const NormedProjection& p : normed) cases.push_back(makeNormedCase(p, scale, smCount));
  cases.push_back(makeRotatedCase("linearRotated 1 row", 1, scale));
  cases.push_back(makeRotatedCase("linearRotated 8 rows", 8, scale));
  return cases;
}

}  // namespace budgets
