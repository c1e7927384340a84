// The part of NCCL that Quire calls, declared here so that no NCCL is needed to build or to start; the probe in scripts/gpu-probe
// compares it with the machine's header. On the emulator its functions are those of emu/src/nccl.cc.
#pragma once
#include <cstddef>

#include "library.h"

namespace nccl {
using Comm = void*;
struct UniqueId { char internal[128]; };  // passed by value

constexpr int kUint32 = 3, kFloat16 = 6, kFloat32 = 7, kBfloat16 = 9, kSum = 0;

#define NCCL_FUNCTIONS(X)                                                                                          \
  X(int, GetVersion, (int*), 1)                                                                                    \
  X(const char*, GetErrorString, (int), 1)                                                                         \
  X(int, GetUniqueId, (UniqueId*), 1)                                                                              \
  X(int, CommInitRank, (Comm*, int ranks, UniqueId, int rank), 4)                                                  \
  X(int, CommAbort, (Comm), 1)                                                                                     \
  X(int, CommDestroy, (Comm), 1)                                                                                   \
  X(int, CommGetAsyncError, (Comm, int*), 2)                                                                       \
  X(int, AllReduce, (const void* from, void* to, size_t count, int type, int op, Comm, void* stream), 7)           \
  X(int, AllGather, (const void* from, void* to, size_t count, int type, Comm, void* stream), 6)                   \
  X(int, Broadcast, (const void* from, void* to, size_t count, int type, int root, Comm, void* stream), 7)         \
  X(int, Send, (const void* from, size_t count, int type, int peer, Comm, void* stream), 6)                        \
  X(int, Recv, (void* to, size_t count, int type, int peer, Comm, void* stream), 6)                                \
  X(int, GroupStart, (), 0)                                                                                        \
  X(int, GroupEnd, (), 0)

struct Api {
#define X(Result, name, parameters, count) Result(*name) parameters = nullptr;
  NCCL_FUNCTIONS(X)
#undef X
};

// Throws with every place that was tried.
inline quire::Library openLibrary() { return {"QUIRE_NCCL", {"libnccl.so.2"}, {"nvidia/nccl/lib"}}; }
// A function that the library lacks is null.
inline Api load(const quire::Library& library) {
  Api api;
#define X(Result, name, parameters, count) api.name = reinterpret_cast<Result(*) parameters>(library.symbol("nccl" #name));
  NCCL_FUNCTIONS(X)
#undef X
  return api;
}

struct Constant { const char* name; long value; };
constexpr Constant kConstants[] = {
    {"NCCL_UNIQUE_ID_BYTES", 128}, {"ncclInt8", 0}, {"ncclUint8", 1}, {"ncclInt32", 2}, {"ncclUint32", kUint32}, {"ncclInt64", 4}, {"ncclUint64", 5},
    {"ncclFloat16", kFloat16}, {"ncclFloat32", kFloat32}, {"ncclFloat64", 8}, {"ncclBfloat16", kBfloat16}, {"ncclSum", kSum}, {"ncclMax", 2},
};
constexpr Constant kFunctionParameters[] = {
#define X(Result, name, parameters, count) {"nccl" #name, count},
    NCCL_FUNCTIONS(X)
#undef X
};
}  // namespace nccl
