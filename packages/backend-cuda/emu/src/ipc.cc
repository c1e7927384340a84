#include "ipc.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <string>

namespace emu {
namespace {

struct Opened {
  size_t bytes;
  int file;
};
std::mutex mutex;
std::map<void*, Opened> opened;

// A lock on the first byte that belongs to the open file: so the owner and those that opened it are told apart.
struct flock lockOf(short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_len = 1;
  return lock;
}

bool writeAll(int file, const char* data, size_t bytes) {
  for (size_t at = 0; at < bytes;) {
    const ssize_t written = pwrite(file, data + at, bytes - at, static_cast<off_t>(at));
    if (written <= 0) return false;
    at += static_cast<size_t>(written);
  }
  return true;
}

bool isOf(int file, const IpcHandle& handle) {
  struct stat found;
  return fstat(file, &found) == 0 && found.st_ino == handle.inode && static_cast<uint64_t>(found.st_size) == handle.bytes;
}

}  // namespace

int shareMemory(void* memory, size_t bytes) {
  const int file = memfd_create("cuda-ipc", MFD_CLOEXEC);
  if (file < 0) return -1;
  const bool filled = writeAll(file, static_cast<const char*>(memory), bytes);
  if (filled && mmap(memory, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED) return file;
  close(file);
  return -1;
}

bool unshareMemory(void* memory, size_t bytes, int file) {
  struct flock lock = lockOf(F_WRLCK);
  if (fcntl(file, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK) return false;
  mmap(memory, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  close(file);
  return true;
}

IpcHandle handleOf(int file, size_t bytes) {
  struct stat found = {};
  fstat(file, &found);
  return {getpid(), file, found.st_ino, bytes};
}

void* openMemory(const IpcHandle& handle) {
  const std::string path = "/proc/" + std::to_string(handle.process) + "/fd/" + std::to_string(handle.file);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return nullptr;
  struct flock lock = lockOf(F_RDLCK);
  void* memory = MAP_FAILED;
  if (isOf(file, handle) && fcntl(file, F_OFD_SETLK, &lock) == 0) memory = mmap(nullptr, handle.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) {
    close(file);
    return nullptr;
  }
  std::lock_guard guard(mutex);
  opened[memory] = {handle.bytes, file};
  return memory;
}

bool closeMemory(void* memory) {
  std::lock_guard guard(mutex);
  const auto found = opened.find(memory);
  if (found == opened.end()) return false;
  munmap(memory, found->second.bytes);
  close(found->second.file);
  opened.erase(found);
  return true;
}

}  // namespace emu
