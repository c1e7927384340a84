// Ranks that meet in a segment of shared memory: threads of one process, or processes of one machine. Nobody waits for ever: an
// abort lets all go, and a rank that is gone, however it ended, is a fault that names it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace emu {

// What a rank asks of the others; all of them must ask the same.
struct Meeting {
  uint32_t kind, type, root, unused;
  uint64_t bytes;
};

class SharedGroup {
 public:
  static constexpr int kMostRanks = 16;
  // Bytes of each rank that cross at a time.
  static constexpr size_t kPieceBytes = size_t{128} << 10;

  // A name that no other group of this machine has.
  static std::string freshName();
  // Takes the place of `rank`. Throws std::runtime_error when there can be no such segment, or when it is of another size.
  SharedGroup(const std::string& name, int rank, int size);
  ~SharedGroup();
  SharedGroup(const SharedGroup&) = delete;

  const int rank, size;
  // Returns when all ranks are here; false after an abort, or when one does not come.
  bool join();
  // From any thread.
  void abort();
  bool aborted() const;

  // All ranks come with the same meeting. Piece by piece, `bytes` of each rank's data are shown to all: `take` gets where the piece
  // begins, its length, and that of each rank. After an abort nothing is taken any more. Throws KernelFault.
  using Pieces = std::function<const char*(int rank)>;
  void meet(const Meeting& meeting, const char* data, const std::function<void(size_t from, size_t length, const Pieces&)>& take);
  // Returns when rank `to` has taken all of it.
  void send(int to, const void* data, size_t bytes);
  void receive(int from, void* data, size_t bytes);

 private:
  struct Segment;
  struct Mailbox;
  enum class Waited { yes, aborted };

  template <class Condition>
  Waited wait(Condition condition);
  void barrier();
  void moved();
  int lostRank() const;
  char* slot(unsigned parity, int ofRank) const;
  Mailbox& mailbox(int from, int to) const;
  [[noreturn]] void fail(const std::string& what);

  std::string name_;
  int file_ = -1;
  size_t bytes_ = 0;
  Segment* segment_ = nullptr;
  // Pieces that this rank has shown: neighbours lie in different slots.
  unsigned pieces_ = 0;
};

}  // namespace emu
