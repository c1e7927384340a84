#include "shared-group.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <stdexcept>

#include "cuda_runtime.h"
#include "grid.h"

namespace emu {
namespace {
using Clock = std::chrono::steady_clock;
// A rank that waits looks so often for one that is gone.
constexpr std::chrono::milliseconds kLook{50};
// Whoever started the ranks learns of a death at once, and says more of it: it has so many looks to abort the group, two seconds or what
// they take on a busy machine.
constexpr int kGraceLooks = 40;
constexpr std::chrono::minutes kJoin{10};

std::runtime_error broken(const std::string& what) { return std::runtime_error("the memory in which emulated GPUs meet: " + what + ": " + std::strerror(errno)); }

// A lock on the byte of a rank, which the system lets go when the rank's process ends. It belongs to the open file: so ranks may
// be threads as well.
struct flock byteOf(int rank) {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return lock;
}
}  // namespace

// All zero at first.
struct SharedGroup::Segment {
  std::atomic<uint32_t> size, joined, aborted, arrived, round;
  // Goes up whenever something here may be what another rank waits for.
  std::atomic<uint32_t> moves;
  std::atomic<uint32_t> present[kMostRanks];
  Meeting meetings[2][kMostRanks];
};
struct SharedGroup::Mailbox {
  std::atomic<uint32_t> full;
  uint64_t bytes;
  char data[kPieceBytes];
};

namespace {
constexpr size_t kHead = 1 << 14;
size_t boxBytes(size_t bytes) { return (bytes + 63) / 64 * 64; }
}  // namespace

std::string SharedGroup::freshName() {
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) throw broken("getrandom");
  std::string name = "/quire-nccl-";
  for (const unsigned char byte : bytes) name += "0123456789abcdef"[byte >> 4], name += "0123456789abcdef"[byte & 15];
  return name;
}

SharedGroup::SharedGroup(const std::string& name, int ownRank, int ranks) : rank(ownRank), size(ranks), name_(name) {
  static_assert(sizeof(Segment) <= kHead, "the head of a segment");
  static_assert(std::atomic<uint32_t>::is_always_lock_free && sizeof(std::atomic<uint32_t>) == 4, "words of a segment");
  bytes_ = kHead + 2 * static_cast<size_t>(size) * kPieceBytes + static_cast<size_t>(size) * size * boxBytes(sizeof(Mailbox));
  file_ = shm_open(name.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (file_ < 0) throw broken(name);
  struct flock lock = byteOf(rank);
  void* memory = MAP_FAILED;
  // Whoever comes first gives it its size; pages that nobody touches take no memory.
  if (ftruncate(file_, static_cast<off_t>(bytes_)) == 0 && fcntl(file_, F_OFD_SETLK, &lock) == 0) memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
  if (memory == MAP_FAILED) {
    const std::runtime_error error = broken(name);
    close(file_);
    throw error;
  }
  segment_ = static_cast<Segment*>(memory);
  uint32_t known = 0;
  if (!segment_->size.compare_exchange_strong(known, size) && known != static_cast<uint32_t>(size)) {
    munmap(memory, bytes_);
    close(file_);
    throw std::runtime_error("the memory in which emulated GPUs meet: found a group of " + std::to_string(known) + ", expected " + std::to_string(size));
  }
  segment_->present[rank] = 1;
}

SharedGroup::~SharedGroup() {
  shm_unlink(name_.c_str());
  munmap(segment_, bytes_);
  close(file_);
}

bool SharedGroup::join() {
  segment_->joined++;
  moved();
  const auto giveUp = Clock::now() + kJoin;
  while (segment_->joined < static_cast<uint32_t>(size) && !aborted()) {
    try {
      wait([&] { return segment_->joined >= static_cast<uint32_t>(size) || Clock::now() > giveUp; });
    } catch (const KernelFault&) {
      return false;
    }
    if (Clock::now() > giveUp) abort();
  }
  // Everybody has it open.
  shm_unlink(name_.c_str());
  return !aborted();
}

void SharedGroup::abort() {
  segment_->aborted = 1;
  moved();
}
bool SharedGroup::aborted() const { return segment_->aborted != 0; }

void SharedGroup::moved() {
  segment_->moves++;
  syscall(SYS_futex, &segment_->moves, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

int SharedGroup::lostRank() const {
  for (int other = 0; other < size; other++) {
    struct flock lock = byteOf(other);
    if (other == rank || segment_->present[other] == 0) continue;
    if (fcntl(file_, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK) return other;
  }
  return -1;
}

void SharedGroup::fail(const std::string& what) {
  abort();
  throw KernelFault{what, operation};
}

template <class Condition>
SharedGroup::Waited SharedGroup::wait(Condition condition) {
  const timespec look{0, std::chrono::nanoseconds(kLook).count()};
  int missed = 0;
  for (;;) {
    const uint32_t moves = segment_->moves;
    if (aborted()) return Waited::aborted;
    if (condition()) return Waited::yes;
    const bool timedOut = syscall(SYS_futex, &segment_->moves, FUTEX_WAIT, moves, &look, nullptr, 0) != 0 && errno == ETIMEDOUT;
    if (!timedOut) continue;
    const int lost = lostRank();
    if (lost < 0) continue;
    if (++missed > kGraceLooks && !aborted() && !condition()) fail("rank " + std::to_string(lost) + " of the group is gone");
  }
}

void SharedGroup::barrier() {
  const uint32_t round = segment_->round;
  if (segment_->arrived.fetch_add(1) + 1 == static_cast<uint32_t>(size)) {
    segment_->arrived = 0;
    segment_->round++;
    moved();
  } else {
    wait([&] { return segment_->round != round; });
  }
}

char* SharedGroup::slot(unsigned parity, int ofRank) const { return reinterpret_cast<char*>(segment_) + kHead + (parity * size + ofRank) * kPieceBytes; }
SharedGroup::Mailbox& SharedGroup::mailbox(int from, int to) const {
  char* boxes = reinterpret_cast<char*>(segment_) + kHead + 2 * static_cast<size_t>(size) * kPieceBytes;
  return *reinterpret_cast<Mailbox*>(boxes + (static_cast<size_t>(from) * size + to) * boxBytes(sizeof(Mailbox)));
}

// One barrier a piece: a slot is written again when all have come to the piece after it, so all have taken what lay there.
void SharedGroup::meet(const Meeting& meeting, const char* data, const std::function<void(size_t, size_t, const Pieces&)>& take) {
  for (size_t from = 0; from == 0 || from < meeting.bytes; from += kPieceBytes) {
    const size_t length = std::min(kPieceBytes, static_cast<size_t>(meeting.bytes) - from);
    const unsigned parity = pieces_++ % 2;
    segment_->meetings[parity][rank] = meeting;
    if (length > 0) std::memcpy(slot(parity, rank), data + from, length);
    barrier();
    if (aborted()) return;
    for (int other = 0; other < size; other++) {
      if (std::memcmp(&segment_->meetings[parity][other], &meeting, sizeof meeting) != 0) fail("the ranks of a group meet in different calls of NCCL");
    }
    take(from, length, [&](int ofRank) { return slot(parity, ofRank); });
  }
}

void SharedGroup::send(int to, const void* data, size_t bytes) {
  Mailbox& box = mailbox(rank, to);
  for (size_t from = 0; from == 0 || from < bytes; from += kPieceBytes) {
    box.bytes = bytes;
    std::memcpy(box.data, static_cast<const char*>(data) + from, std::min(kPieceBytes, bytes - from));
    box.full = 1;
    moved();
    if (wait([&] { return box.full == 0; }) == Waited::aborted) return;
  }
}

void SharedGroup::receive(int from, void* data, size_t bytes) {
  Mailbox& box = mailbox(from, rank);
  for (size_t at = 0; at == 0 || at < bytes; at += kPieceBytes) {
    if (wait([&] { return box.full != 0; }) == Waited::aborted) return;
    if (box.bytes != bytes) fail("ncclRecv takes " + std::to_string(bytes) + " bytes of a message of " + std::to_string(box.bytes));
    std::memcpy(static_cast<char*>(data) + at, box.data, std::min(kPieceBytes, bytes - at));
    box.full = 0;
    moved();
  }
}

}  // namespace emu
