// The part of cuBLASLt that Quire calls, declared here so that no CUDA library is needed to build or to start. Stable over
// the versions 12 and 13; the probe in scripts/gpu-probe compares it with the machine's header.
#pragma once
#include <cstddef>
#include <cstdint>

#include "library.h"

namespace cublaslt {
using Handle = void*;
using Desc = void*;
using Layout = void*;
using Preference = void*;
struct Algo { uint64_t data[8]; };
struct HeuristicResult {
  Algo algo;
  size_t workspaceSize;
  int state;
  float wavesCount;
  int reserved[4];
};

constexpr int kR32F = 0, kR16F = 2, kR16BF = 14;  // cudaDataType_t
constexpr int kCompute32F = 68;
constexpr int kDescTransA = 3, kDescTransB = 4, kDescEpilogue = 7, kDescBiasPointer = 8;
constexpr int kPreferenceMaxWorkspace = 1, kPreferenceReductionSchemes = 3;
constexpr uint32_t kReductionComputeType = 2;
constexpr int kOpN = 0, kOpT = 1;
constexpr int kEpilogueBias = 4;

// name, parameters, their number in the header
#define CUBLASLT_FUNCTIONS(X)                                                                                             \
  X(int, Create, (Handle*), 1)                                                                                            \
  X(int, Destroy, (Handle), 1)                                                                                            \
  X(size_t, GetVersion, (), 0)                                                                                            \
  X(const char*, GetStatusString, (int), 1)                                                                               \
  X(int, MatmulDescCreate, (Desc*, int computeType, int scaleType), 3)                                                    \
  X(int, MatmulDescDestroy, (Desc), 1)                                                                                    \
  X(int, MatmulDescSetAttribute, (Desc, int attribute, const void*, size_t), 4)                                           \
  X(int, MatrixLayoutCreate, (Layout*, int type, uint64_t rows, uint64_t columns, int64_t ld), 5)                         \
  X(int, MatrixLayoutDestroy, (Layout), 1)                                                                                \
  X(int, MatrixLayoutSetAttribute, (Layout, int attribute, const void*, size_t), 4)                                       \
  X(int, MatmulPreferenceCreate, (Preference*), 1)                                                                        \
  X(int, MatmulPreferenceDestroy, (Preference), 1)                                                                        \
  X(int, MatmulPreferenceSetAttribute, (Preference, int attribute, const void*, size_t), 4)                               \
  X(int, MatmulAlgoGetHeuristic, (Handle, Desc, Layout a, Layout b, Layout c, Layout d, Preference, int requested, HeuristicResult*, int* found), 10) \
  X(int, Matmul, (Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta, const void* c, Layout, void* d, Layout, const Algo*, void* workspace, size_t, void* stream), 16)

struct Api {
#define X(Result, name, parameters, count) Result(*name) parameters = nullptr;
  CUBLASLT_FUNCTIONS(X)
#undef X
};

// Throws with every place that was tried.
inline quire::Library openLibrary() { return {"QUIRE_CUBLASLT", {"libcublasLt.so.13", "libcublasLt.so.12"}, {"nvidia/cu13/lib", "nvidia/cublas/lib"}}; }
// A function that the library lacks is null.
inline Api load(const quire::Library& library) {
  Api api;
#define X(Result, name, parameters, count) api.name = reinterpret_cast<Result(*) parameters>(library.symbol("cublasLt" #name));
  CUBLASLT_FUNCTIONS(X)
#undef X
  return api;
}
// Whether the declarations above are those of this version, as cublasLtGetVersion tells it.
inline bool isKnownVersion(size_t version) { return version / 10000 == 12 || version / 10000 == 13; }

// What the headers must say: names and values, as above.
struct Constant { const char* name; long value; };
constexpr Constant kConstants[] = {
    {"CUBLASLT_MATMUL_DESC_COMPUTE_TYPE", 0}, {"CUBLASLT_MATMUL_DESC_TRANSA", kDescTransA}, {"CUBLASLT_MATMUL_DESC_TRANSB", kDescTransB},
    {"CUBLASLT_MATMUL_DESC_EPILOGUE", kDescEpilogue}, {"CUBLASLT_MATMUL_DESC_BIAS_POINTER", kDescBiasPointer}, {"CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE", 26},
    {"CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK", kPreferenceReductionSchemes}, {"CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE", kReductionComputeType},
    {"CUBLASLT_MATRIX_LAYOUT_ORDER", 1}, {"CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT", 5}, {"CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET", 6},
    {"CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES", kPreferenceMaxWorkspace}, {"CUBLASLT_EPILOGUE_DEFAULT", 1}, {"CUBLASLT_EPILOGUE_BIAS", kEpilogueBias},
    {"CUBLAS_COMPUTE_32F", kCompute32F}, {"CUBLAS_OP_N", kOpN}, {"CUBLAS_OP_T", kOpT},
    {"CUDA_R_32F", kR32F}, {"CUDA_R_16F", kR16F}, {"CUDA_R_16BF", kR16BF},
};
constexpr Constant kFunctionParameters[] = {
#define X(Result, name, parameters, count) {"cublasLt" #name, count},
    CUBLASLT_FUNCTIONS(X)
#undef X
};
}  // namespace cublaslt
