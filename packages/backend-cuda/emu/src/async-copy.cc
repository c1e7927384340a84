// cp.async: issued copies take effect at the wait that requires them, and not before.
#include <algorithm>
#include <cstring>

#include "../cuda_emu.h"

namespace emu {

void asyncCopy(void* destination, const void* source, int bytes, int validBytes) {
  std::memset(destination, 0xff, bytes);
  current->copies.push_back({destination, source, bytes, validBytes, -1});
}

void asyncCommit() {
  for (auto& c : current->copies) {
    if (c.group < 0) c.group = current->committedGroups;
  }
  current->committedGroups++;
}

// cp.async.wait_group n: all but the n youngest committed groups are complete.
void asyncWait(int groupsLeft) {
  const int complete = current->committedGroups - groupsLeft;
  auto& copies = current->copies;
  auto done = [complete](const AsyncCopy& c) { return c.group >= 0 && c.group < complete; };
  for (const auto& c : copies) {
    if (!done(c)) continue;
    std::memcpy(c.destination, c.source, c.validBytes);
    std::memset(static_cast<char*>(c.destination) + c.validBytes, 0, c.bytes - c.validBytes);
    if (current->block->products) current->block->products->noteCopy(current->linear, c.destination, c.bytes);
  }
  copies.erase(std::remove_if(copies.begin(), copies.end(), done), copies.end());
}

}  // namespace emu
