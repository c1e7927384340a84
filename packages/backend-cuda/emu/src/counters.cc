#include "counters.h"

#include <algorithm>

namespace emu {

std::map<std::string, KernelCounters>& kernelCounters() {
  // Never destroyed: a kernel of another thread may still run when the process ends.
  static auto& all = *new std::map<std::string, KernelCounters>;
  return all;
}

int sectorsOf(const uintptr_t* addresses, uint32_t lanes, int bytes) {
  std::vector<uintptr_t> sectors;
  sectors.reserve(64);
  for (int lane = 0; lane < 32; lane++) {
    if (!(lanes >> lane & 1)) continue;
    for (uintptr_t s = addresses[lane] / 32; s <= (addresses[lane] + bytes - 1) / 32; s++) {
      if (sectors.empty() || sectors.back() != s) sectors.push_back(s);
    }
  }
  std::sort(sectors.begin(), sectors.end());
  return static_cast<int>(std::unique(sectors.begin(), sectors.end()) - sectors.begin());
}

// Wide accesses are served in groups of lanes that together ask for 128 bytes.
int conflictsOf(const uintptr_t* addresses, uint32_t lanes, int bytes) {
  const int lanesPerPass = std::max(1, std::min(32, 128 / std::max(4, bytes)));
  int extra = 0;
  for (int first = 0; first < 32; first += lanesPerPass) {
    std::vector<uintptr_t> words;
    words.reserve(64);
    for (int lane = first; lane < first + lanesPerPass; lane++) {
      if (!(lanes >> lane & 1)) continue;
      for (uintptr_t w = addresses[lane] / 4; w <= (addresses[lane] + bytes - 1) / 4; w++) words.push_back(w);
    }
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    int perBank[32] = {}, worst = 0;
    for (const uintptr_t w : words) worst = std::max(worst, ++perBank[w % 32]);
    if (worst > 1) extra += worst - 1;
  }
  return extra;
}

void RequestLog::record(Kind kind, int site, int lane, uintptr_t address, int bytes) {
  const uint32_t bit = 1u << lane;
  for (auto& request : open_) {
    if (request.kind == kind && request.site == site && request.bytes == bytes && !(request.lanes & bit)) {
      request.lanes |= bit;
      request.addresses[lane] = address;
      return;
    }
  }
  Request request{kind, site, bit, {}, bytes};
  request.addresses[lane] = address;
  open_.push_back(request);
}

void RequestLog::flush(KernelCounters& c) {
  for (const auto& r : open_) {
    const uint64_t bytes = static_cast<uint64_t>(__builtin_popcount(r.lanes)) * r.bytes;
    if (r.kind == Kind::load) {
      c.loadRequests++, c.loadBytes += bytes, c.loadSectors += sectorsOf(r.addresses, r.lanes, r.bytes);
    } else if (r.kind == Kind::store) {
      c.storeRequests++, c.storeBytes += bytes, c.storeSectors += sectorsOf(r.addresses, r.lanes, r.bytes);
    } else {
      c.sharedRequests++, c.bankConflicts += conflictsOf(r.addresses, r.lanes, r.bytes);
    }
  }
  open_.clear();
}

}  // namespace emu
