// Memory that another process opens by CUDA IPC. The other process is a fork.
#include <csignal>
#include <cstring>

#include <sys/wait.h>
#include <unistd.h>

#include "cuda_runtime.h"
#include "ipc_test.h"

namespace {

constexpr size_t kBytes = size_t{2} << 20;

// How a process ended that runs `body`.
int statusOf(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

char* opened(const cudaIpcMemHandle_t& handle) {
  void* memory = nullptr;
  return cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess) == cudaSuccess ? static_cast<char*>(memory) : nullptr;
}

}  // namespace

void testIpc(const std::function<void(bool ok, const char* what)>& check) {
  char *whole = nullptr, *part = nullptr;
  cudaMalloc(reinterpret_cast<void**>(&whole), kBytes);
  cudaMalloc(reinterpret_cast<void**>(&part), kBytes / 2);
  whole[kBytes - 1] = 7;
  cudaIpcMemHandle_t handle;
  check(cudaIpcGetMemHandle(&handle, part) == cudaErrorInvalidValue, "what shares a block with other allocations is not given away");
  check(cudaIpcGetMemHandle(&handle, whole) == cudaSuccess && whole[kBytes - 1] == 7, "memory is exported with what it holds");
  check(opened(handle) == nullptr && cudaGetLastError() == cudaErrorDeviceUninitialized, "a process does not open its own memory");
  const int status = statusOf([&] {
    char* memory = opened(handle);
    if (memory == nullptr || memory[kBytes - 1] != 7) _exit(1);
    memory[0] = 8;
    if (cudaIpcCloseMemHandle(memory) != cudaSuccess || cudaIpcCloseMemHandle(memory) == cudaSuccess) _exit(2);
  });
  check(status == 0 && whole[0] == 8, "two processes see one memory");
  const int killed = statusOf([&] {
    opened(handle);
    raise(SIGKILL);
  });
  check(WIFSIGNALED(killed) && cudaFree(whole) == cudaSuccess, "memory is free to go when who had it open is killed");
  check(statusOf([&] { _exit(opened(handle) == nullptr ? 0 : 1); }) == 0, "memory that was freed is not opened");
  cudaFree(part);

  // The owner is a process of its own: freeing what another has open ends it.
  int handles[2], held[2];
  if (pipe(handles) != 0 || pipe(held) != 0) return check(false, "pipes");
  const pid_t owner = fork();
  if (owner == 0) {
    char byte, *memory = nullptr;
    cudaMalloc(reinterpret_cast<void**>(&memory), kBytes);
    cudaIpcGetMemHandle(&handle, memory);
    if (write(handles[1], &handle, sizeof handle) != sizeof handle || read(held[0], &byte, 1) != 1) _exit(1);
    cudaFree(memory);
    _exit(0);
  }
  const bool isOpen = read(handles[0], &handle, sizeof handle) == sizeof handle && opened(handle) != nullptr && write(held[1], "x", 1) == 1;
  int ended = 0;
  waitpid(owner, &ended, 0);
  check(isOpen && WIFSIGNALED(ended) && WTERMSIG(ended) == SIGABRT, "who frees what another process has open is ended");
}
