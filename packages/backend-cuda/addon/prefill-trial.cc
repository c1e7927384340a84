#include "prefill-trial.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "../kernels/lib/row_state.h"

namespace quire {
namespace {

// Time says nothing on the emulator.
#if defined(EMU)
constexpr bool kTimed = false;
constexpr int kTokens = 150, kContext = 170, kRuns = 2;
#else
constexpr bool kTimed = true;
constexpr int kTokens = 2048, kContext = 2048, kRuns = 6;
#endif
// Of a step's longest prompt, queries of all heads of a group.
constexpr int kLeastRows = 512;

std::string keyOf(const PagedAttention& a) {
  const auto& s = a.shape;
  std::string key;
  for (const int n : {static_cast<int>(a.qkv.dtype), s.heads, s.kvHeads, s.headDim, s.blockSize}) key += std::to_string(n) + " ";
  return key;
}

int mantissaBits(DType dtype) { return dtype == DType::f16 ? 10 : 7; }

// One GPU under one driver.
std::string machineOf(int ordinal) {
  int driver = 0;
  char gpu[32] = "";
  cudaDriverGetVersion(&driver);
  if (cudaDeviceGetPCIBusId(gpu, sizeof gpu, ordinal) != cudaSuccess) cudaGetLastError();
  return std::string(gpu) + ", driver " + std::to_string(driver);
}

// 16-bit elements between 2^-4 and 1, of either sign.
std::vector<uint16_t> noise(DType dtype, size_t n, uint32_t seed) {
  const int mantissa = mantissaBits(dtype), one = dtype == DType::f16 ? 15 : 127;
  std::vector<uint16_t> elements(n);
  for (uint16_t& element : elements) {
    seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;  // xorshift32 (Marsaglia 2003)
    const uint32_t sign = seed >> 31, exponent = one - 1 - (seed >> 29 & 3), fraction = seed >> 8 & ((1u << mantissa) - 1);
    element = static_cast<uint16_t>(sign << 15 | exponent << mantissa | fraction);
  }
  return elements;
}

float valueOf(DType dtype, uint16_t bits) {
  float value = 0;
  if (dtype == DType::bf16) {
    const uint32_t wide = uint32_t{bits} << 16;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) value = fraction == 0 ? INFINITY : NAN;
  else value = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24) : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return bits >> 15 ? -value : value;
}

// One sequence of kTokens queries at the end of kContext positions, in pages that do not follow each other.
class Trial {
 public:
  Trial(const PagedAttention& shape, int smCount) : a_(shape) {
    const AttentionShape& s = shape.shape;
    const int pages = (kContext + s.blockSize - 1) / s.blockSize;
    a_.scale = 1, a_.window = 0, a_.softCap = 0;
    a_.qkv = elements(kTokens, (s.heads + 2 * s.kvHeads) * s.headDim, 1);
    a_.kCache = elements(pages + 1, int64_t{s.kvHeads} * s.blockSize * s.headDim, 2), a_.vCache = elements(pages + 1, a_.kCache.columns, 3);
    std::vector<uint32_t> table(pages), record(SEQUENCE_WORDS);
    for (int i = 0; i < pages; i++) table[i] = 1 + (i % 2 == 0 ? i / 2 : pages - 1 - i / 2);
    record[Sequence::queryLen] = kTokens, record[Sequence::contextLen] = kContext, record[Sequence::firstPosition] = kContext - kTokens;
    a_.blockTables = words(table), a_.sequences = words(record);
    outBytes_ = size_t{kTokens} * s.heads * s.headDim * sizeof(uint16_t);
    a_.out = {allocate(outBytes_), shape.qkv.dtype, kTokens, int64_t{s.heads} * s.headDim};
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    check(cudaEventCreateWithFlags(&start_, 0)), check(cudaEventCreateWithFlags(&stop_, 0));
    step_ = {{kTokens, 1, 0, 0, pages, kTokens, 0}, {}, smCount, stream_};
  }
  ~Trial() {
    if (stream_ != nullptr) cudaStreamSynchronize(stream_);
    for (void* memory : memory_) cudaFree(memory);
    for (cudaEvent_t event : {start_, stop_}) if (event != nullptr) cudaEventDestroy(event);
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
    cudaGetLastError();
  }
  Trial(const Trial&) = delete;

  bool passes() {
    const Outcome other = run(false), own = run(true);
    return good_ && own.sameBits && agree(other.out, own.out) && (!kTimed || own.milliseconds < other.milliseconds);
  }

 private:
  struct Outcome {
    std::vector<uint16_t> out;
    float milliseconds = INFINITY;
    bool sameBits = true;
  };

  void check(cudaError_t e) { good_ = good_ && e == cudaSuccess; }
  void* allocate(size_t bytes) {
    void* memory = nullptr;
    if (good_) check(cudaMalloc(&memory, bytes));
    if (memory != nullptr) memory_.push_back(memory);
    return memory;
  }
  void* upload(const void* from, size_t bytes) {
    void* memory = allocate(bytes);
    if (good_) check(cudaMemcpy(memory, from, bytes, cudaMemcpyHostToDevice));
    return memory;
  }
  Tensor elements(int rows, int64_t columns, uint32_t seed) {
    const std::vector<uint16_t> values = noise(a_.qkv.dtype, static_cast<size_t>(rows) * columns, seed);
    return {upload(values.data(), values.size() * sizeof(uint16_t)), a_.qkv.dtype, rows, columns};
  }
  Tensor words(const std::vector<uint32_t>& values) { return {upload(values.data(), values.size() * sizeof(uint32_t)), DType::u32, 1, static_cast<int64_t>(values.size())}; }

  // The first run loads the kernel and is not timed. Outputs begin as NaN.
  Outcome run(bool wgmma) {
    Outcome outcome;
    for (int i = 0; good_ && i < kRuns; i++) {
      std::vector<uint16_t> out(outBytes_ / sizeof(uint16_t));
      float milliseconds = 0;
      check(cudaMemsetAsync(a_.out.data, 0xff, outBytes_, stream_));
      check(cudaEventRecord(start_, stream_));
      if (good_) check(wgmma ? pagedAttentionWgmma(a_, step_) : pagedAttention(a_, step_));
      check(cudaEventRecord(stop_, stream_));
      check(cudaEventSynchronize(stop_));
      if (good_) check(cudaEventElapsedTime(&milliseconds, start_, stop_));
      if (good_) check(cudaMemcpy(out.data(), a_.out.data, outBytes_, cudaMemcpyDeviceToHost));
      if (i == 0) outcome.out = std::move(out);
      else outcome.milliseconds = std::min(outcome.milliseconds, milliseconds), outcome.sameBits = outcome.sameBits && out == outcome.out;
    }
    return outcome;
  }

  // Values are below 1: weights that are rounded, and an output that is, put a form within two units of roundoff of the exact one.
  bool agree(const std::vector<uint16_t>& x, const std::vector<uint16_t>& y) const {
    const DType dtype = a_.qkv.dtype;
    const float most = 4 * std::ldexp(1.0f, -mantissaBits(dtype) - 1);
    for (size_t i = 0; i < x.size(); i++) {
      if (!(std::fabs(valueOf(dtype, x[i]) - valueOf(dtype, y[i])) <= most)) return false;
    }
    return !x.empty() && x.size() == y.size();
  }

  PagedAttention a_;
  bool good_ = true;
  std::vector<void*> memory_;
  size_t outBytes_ = 0;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
  Step step_{};
};

}  // namespace

PrefillTrial::PrefillTrial(int ordinal, int smCount, bool always, std::string marksFile)
    : smCount_(smCount), always_(always), marks_(std::move(marksFile), machineOf(ordinal)) {}

bool PrefillTrial::takes(const PagedAttention& a) {
  if (!wgmmaTakes(a) || !chipHasWgmma()) return false;
  if (always_) return true;
  const std::string key = keyOf(a);
  const auto [choice, isNew] = choices_.emplace(key, false);
  if (isNew && marks_.begin(key)) {
    choice->second = Trial(a, smCount_).passes();
    // An error that stays is one of the GPU's context: what the trial did to it is then not to be done again.
    if (cudaDeviceSynchronize() == cudaSuccess) marks_.end(key);
  }
  return choice->second;
}

bool PrefillTrial::suits(const PagedAttention& a, const StepSizes& sizes) const { return always_ || sizes.maxQueryTokens * (a.shape.heads / a.shape.kvHeads) >= kLeastRows; }

}  // namespace quire
