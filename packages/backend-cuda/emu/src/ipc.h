// Device memory that several processes have mapped, for CUDA IPC: a file without a name, which ends with the last process that has
// it. A process that opens it holds a lock on it, which the system lets go with the process: so its owner can tell who is left.
#pragma once
#include <cstddef>
#include <cstdint>

namespace emu {

// What a handle of the runtime holds.
struct IpcHandle {
  int32_t process, file;
  uint64_t inode, bytes;
};

// A GPU gives memory to other processes in blocks of so many bytes; cudaMalloc puts smaller allocations into one block.
constexpr size_t kIpcBytes = size_t{2} << 20;

// Makes whole pages of this process such a file, in place and with their contents. Its descriptor, -1 where there can be none.
int shareMemory(void* memory, size_t bytes);
// Makes them memory of this process alone again, with contents that mean nothing. False, and nothing done, while others have it.
bool unshareMemory(void* memory, size_t bytes, int file);
IpcHandle handleOf(int file, size_t bytes);

// Memory that another process has shared, null where it cannot be had.
void* openMemory(const IpcHandle&);
// False for what was not opened.
bool closeMemory(void* memory);

}  // namespace emu
