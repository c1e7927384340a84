#include "warpgroup.h"

#include <algorithm>
#include <utility>

#include "../include/cuda_bf16.h"
#include "../include/cuda_fp16.h"
#include "../include/cuda_runtime.h"

namespace emu {

bool& hasWarpgroupProducts() {
  static bool has = false;
  return has;
}

namespace {

constexpr uint32_t kNanBits = 0xffffffffu;
constexpr int kRows = 64, kDepth = 16, kWarpRows = 16, kWarpsOfGroup = 4, kUnitElements = 8;
constexpr uint32_t kUnitBytes = 16;

void fail(const std::string& message) { current->block->fail(message); }

BlockProducts& productsOfBlock() {
  Block& block = *current->block;
  if (!hasWarpgroupProducts()) fail("wgmma on a chip that has none: it is of compute capability 9.0 alone");
  if (!block.products) block.products = std::make_unique<BlockProducts>(block);
  return *block.products;
}
WarpProducts& productsOfWarp() {
  const int warp = current->linear / kWarpSize;
  if (static_cast<size_t>(warp / kWarpsOfGroup * kWarpsOfGroup + kWarpsOfGroup) * kWarpSize > current->block->threads.size())
    fail("wgmma by warp " + std::to_string(warp) + ", which is in no warpgroup: four warps, the first a multiple of four");
  return productsOfBlock().ofWarp(warp);
}

// ------------------------------------------------------------------------------------------------------------- descriptors
//
// Bits 0-13 start address, 16-29 leading byte offset (LBO), 32-45 stride byte offset (SBO), each in units of 16 bytes; 49-51 base
// offset, 0 where the pattern of 1024 bytes starts at a multiple of 1024; 62-63 swizzle, 1 for that of 128 bytes. No other
// swizzle is emulated.
struct Descriptor {
  uint32_t start, leading, stride;
};

Descriptor readDescriptor(uint64_t d, const char* operand) {
  const std::string of = std::string("the descriptor of ") + operand + " in wgmma ";
  if (d >> 62 != 1) fail(of + "has swizzle mode " + std::to_string(d >> 62) + ", of which the emulator knows 1 (128 bytes) only");
  if ((d >> 49 & 7) != 0) fail(of + "has a base offset, which the emulator does not know");
  const auto field = [d](int bit) { return static_cast<uint32_t>(d >> bit & 0x3fff) << 4; };
  const Descriptor r{field(0), field(16), field(32)};
  if (r.start & 0x380) fail(of + "starts at byte " + std::to_string(r.start) + " of shared memory: a pattern without base offset begins at a multiple of 1024");
  return r;
}

// Swizzle<3, 4, 3>: the number of a 16-byte unit within 128 bytes (bits 4-6) is xored with that of its row of 128 bytes (7-9).
uint32_t swizzled(uint32_t address) { return address ^ (address >> 3 & 0x70); }

// The units of `rows` rows of 16 elements, K-major: T = 8 elements to a unit, canonical layout ((8,m),(T,2)):((8T,SBO),(1,T)). In
// bytes: row r begins at (r / 8) SBO + (r % 8) 128, its second unit 16 behind the first. LBO is not used.
std::vector<uint32_t> unitsOfRows(const Descriptor& d, int rows) {
  std::vector<uint32_t> offsets;
  for (uint32_t r = 0; r < static_cast<uint32_t>(rows); r++) {
    for (uint32_t half = 0; half < 2; half++) offsets.push_back(swizzled(d.start + r / 8 * d.stride + r % 8 * 128 + half * kUnitBytes));
  }
  return offsets;
}

// The units of 16 rows of n elements, N-major: canonical layout ((T,8,m),(8,k)):((1,T,LBO),(8T,SBO)). In bytes: unit u of row k lies
// at (u / 8) LBO + (u % 8) 16 + (k / 8) SBO + (k % 8) 128.
std::vector<uint32_t> unitsOfColumns(const Descriptor& d, int n) {
  std::vector<uint32_t> offsets;
  for (uint32_t k = 0; k < kDepth; k++) {
    for (uint32_t u = 0; u < static_cast<uint32_t>(n) / kUnitElements; u++) offsets.push_back(swizzled(d.start + u / 8 * d.leading + u % 8 * kUnitBytes + k / 8 * d.stride + k % 8 * 128));
  }
  return offsets;
}

std::vector<uint32_t> unitsOfA(const ProductKind& kind) { return unitsOfRows(readDescriptor(kind.a, "A"), kRows); }
std::vector<uint32_t> unitsOfB(const ProductKind& kind) {
  const Descriptor d = readDescriptor(kind.b, "B");
  return kind.bIsNMajor ? unitsOfColumns(d, kind.n) : unitsOfRows(d, kind.n);
}

// ------------------------------------------------------------------------------------------------------------ one warp's part

float toFloat(ElementKind kind, uint16_t bits) { return kind == ElementKind::half ? halfToFloat(bits) : __bfloat162float({bits}); }

// A's rows of a warp from registers. Of lane l, register i, half h (figure "register fragment layout for matrix A"): row
// l / 4 + 8 (i % 2), column 2 (l % 4) + h + 8 (i / 2).
void readA(ElementKind kind, const std::vector<uint32_t>& registers, float (&a)[kWarpRows][kDepth]) {
  for (int lane = 0; lane < kWarpSize; lane++) {
    for (int i = 0; i < 4; i++) {
      for (int h = 0; h < 2; h++) a[lane / 4 + 8 * (i % 2)][lane % 4 * 2 + h + 8 * (i / 2)] = toFloat(kind, static_cast<uint16_t>(registers[lane * 4 + i] >> 16 * h));
    }
  }
}
void readA(ElementKind kind, const std::vector<uint16_t>& shared, int firstRow, float (&a)[kWarpRows][kDepth]) {
  for (int r = 0; r < kWarpRows; r++) {
    for (int k = 0; k < kDepth; k++) a[r][k] = toFloat(kind, shared[(firstRow + r) * kDepth + k]);
  }
}

// [16][n]
std::vector<float> readB(const ProductKind& kind, const std::vector<uint16_t>& shared) {
  std::vector<float> b(kDepth * kind.n);
  for (int k = 0; k < kDepth; k++) {
    for (int n = 0; n < kind.n; n++) b[k * kind.n + n] = toFloat(kind.element, shared[kind.bIsNMajor ? k * kind.n + n : n * kDepth + k]);
  }
  return b;
}

// Accumulators of a warp, by lane: d[j][i] of lane l (figure "register fragment layout for accumulator matrix D") is row l / 4 + 8 (i / 2)
// and column 8 j + 2 (l % 4) + i % 2 of its 16 rows. Sums run in the order of k.
void multiply(const float (&a)[kWarpRows][kDepth], const std::vector<float>& b, int n, bool accumulates, std::vector<uint32_t>& d) {
  std::vector<float> sums(n);
  for (int r = 0; r < kWarpRows; r++) {
    auto element = [&](int column) -> uint32_t& { return d[(r % 8 * 4 + column % 8 / 2) * (n / 2) + column / 8 * 4 + r / 8 * 2 + column % 2]; };
    for (int c = 0; c < n; c++) sums[c] = accumulates ? __uint_as_float(element(c)) : 0.0f;
    for (int k = 0; k < kDepth; k++) {
      for (int c = 0; c < n; c++) sums[c] += a[r][k] * b[k * n + c];
    }
    for (int c = 0; c < n; c++) element(c) = __float_as_uint(sums[c]);
  }
}

}  // namespace

// The arrays of a kernel's scope that has ended may be read here: their values then mean nothing, and nobody looks at them.
__attribute__((no_sanitize("address"))) std::vector<uint32_t> Registers::read() const {
  std::vector<uint32_t> values(static_cast<size_t>(kWarpSize) * words);
  for (int lane = 0; lane < kWarpSize; lane++) {
    for (int i = 0; i < words; i++) values[lane * words + i] = lanes[lane][i];
  }
  return values;
}
void Registers::write(const std::vector<uint32_t>& values) const {
  for (int lane = 0; lane < kWarpSize; lane++) std::copy_n(values.begin() + lane * words, words, lanes[lane]);
}

void WarpProducts::fence() {
  fenced_ = true;
  for (auto& [registers, values] : atFence_) values = registers.read();
}

// Accumulators of products on their way need no fence between products of one shape.
void WarpProducts::checkFence(const Registers& registers, const char* what) const {
  if (!fenced_) fail(std::string("wgmma without wgmma.fence: ") + what + " may have been written since the last wait");
  const auto known = atFence_.find(registers);
  if (known != atFence_.end() && !known->second.empty() && known->second != registers.read()) fail(std::string("wgmma: ") + what + " were written behind the wgmma.fence in front of it");
}

void WarpProducts::issue(const ProductKind& kind, const Registers& d, const Registers& a) {
  BlockProducts& block = productsOfBlock();
  block.note(current->linear / kWarpSize, kind);
  Product product{kind, d, a, {}, {}, {}, -1};
  const std::vector<uint32_t> b = unitsOfB(kind);
  block.checkSeen(b, "B");
  product.bShared = block.read(b);
  if (kind.aInRegisters) {
    checkFence(a, "registers of A");
    product.aRegisters = a.read();
    atFence_[a];
  } else {
    block.checkSeen(unitsOfA(kind), "A");
    product.aShared = block.read(unitsOfA(kind));
  }
  const std::vector<uint32_t> poison(static_cast<size_t>(kWarpSize) * d.words, kNanBits);
  if (const auto found = accumulators_.find(d); found == accumulators_.end()) {
    checkFence(d, "accumulators");
    accumulators_[d] = d.read();
    atFence_[d];
    d.write(poison);
  } else if (found->first.words != d.words) {
    fail("wgmma: accumulators of a product on its way are named by one of another shape");
  }
  pending_.push_back(std::move(product));
}

void WarpProducts::commit() {
  for (Product& p : pending_) {
    if (p.group < 0) p.group = committed_;
  }
  committed_++;
}

// wgmma.wait_group n: all but the n youngest committed groups are complete.
void WarpProducts::wait(int groupsLeft) {
  const int complete = committed_ - groupsLeft;
  auto isDone = [complete](const Product& p) { return p.group >= 0 && p.group < complete; };
  std::vector<Registers> finished;
  for (const Product& p : pending_) {
    if (isDone(p)) this->complete(p), finished.push_back(p.d);
  }
  pending_.erase(std::remove_if(pending_.begin(), pending_.end(), isDone), pending_.end());
  for (const Registers& d : finished) deliver(d);
  fenced_ = false;
}

void WarpProducts::complete(const Product& p) {
  const BlockProducts& block = productsOfBlock();
  const int firstRow = current->linear / kWarpSize % kWarpsOfGroup * kWarpRows;
  if (block.read(unitsOfB(p.kind)) != p.bShared) fail("wgmma: B in shared memory changed between the product and wgmma.wait_group");
  float a[kWarpRows][kDepth];
  if (p.kind.aInRegisters) {
    if (p.a.read() != p.aRegisters) fail("wgmma: registers of A changed between the product and wgmma.wait_group");
    readA(p.kind.element, p.aRegisters, a);
  } else {
    if (block.read(unitsOfA(p.kind)) != p.aShared) fail("wgmma: A in shared memory changed between the product and wgmma.wait_group");
    readA(p.kind.element, p.aShared, firstRow, a);
  }
  multiply(a, readB(p.kind, p.bShared), p.kind.n, p.kind.accumulates, accumulators_.at(p.d));
}

// Unless a later product on the same accumulators is on its way.
void WarpProducts::deliver(const Registers& d) {
  const auto found = accumulators_.find(d);
  const bool isPending = std::any_of(pending_.begin(), pending_.end(), [&](const Product& p) { return p.d.lanes[0] == d.lanes[0]; });
  if (found == accumulators_.end() || isPending) return;
  const std::vector<uint32_t> now = d.read();
  if (std::any_of(now.begin(), now.end(), [](uint32_t word) { return word != kNanBits; })) fail("wgmma: accumulators were written between the product and wgmma.wait_group");
  d.write(found->second);
  accumulators_.erase(found);
}

// -------------------------------------------------------------------------------------------------------------------- a block

BlockProducts::BlockProducts(Block& block)
    : block_(block), warps_(block.warps.size()), issued_(block.warps.size() / kWarpsOfGroup + 1), count_(block.warps.size()), threads_(block.threads.size()), seen_(block.dynamicSharedBytes, '\xff') {}

void BlockProducts::note(int warp, const ProductKind& kind) {
  std::vector<ProductKind>& issued = issued_[warp / kWarpsOfGroup];
  const size_t at = count_[warp]++;
  if (at == issued.size()) issued.push_back(kind);
  else if (!(issued[at] == kind)) fail("wgmma: warp " + std::to_string(warp) + " issues another product than the other warps of its warpgroup");
}

void BlockProducts::warpEnds(int warp) {
  if (!warps_[warp].idle()) fail("a warp ended with wgmma products that it never waited for");
  const int first = warp / kWarpsOfGroup * kWarpsOfGroup;
  for (int w = first; w < first + kWarpsOfGroup && w < static_cast<int>(block_.warps.size()); w++) {
    if (block_.warps[w].done == block_.warps[w].present && count_[w] != count_[warp])
      fail("wgmma: warps of one warpgroup issued " + std::to_string(count_[w]) + " and " + std::to_string(count_[warp]) + " products");
  }
}

void BlockProducts::fence(int thread) { threads_[thread] = {true, {}}; }

void BlockProducts::noteCopy(int thread, void* destination, int bytes) {
  const size_t offset = static_cast<char*>(destination) - block_.shared;
  if (offset + bytes <= seen_.size()) threads_[thread].copied.push_back({offset, static_cast<size_t>(bytes)});
}

void BlockProducts::barrierPassed(const std::vector<int>& threads, int last) {
  bool fenced = std::exchange(threads_[last].fenced, false);
  for (const int thread : threads) fenced |= std::exchange(threads_[thread].fenced, false);
  if (!fenced) return;
  std::vector<char> before = std::move(seen_);
  seen_.assign(block_.shared, block_.shared + block_.dynamicSharedBytes);
  for (const ThreadState& state : threads_) {
    for (const Range& r : state.copied) std::copy_n(before.begin() + r.offset, r.bytes, seen_.begin() + r.offset);
  }
}

std::vector<uint16_t> BlockProducts::read(const std::vector<uint32_t>& offsets) const {
  std::vector<uint16_t> elements(offsets.size() * kUnitElements);
  for (size_t i = 0; i < offsets.size(); i++) std::memcpy(&elements[i * kUnitElements], block_.shared + offsets[i], kUnitBytes);
  return elements;
}

void BlockProducts::checkSeen(const std::vector<uint32_t>& offsets, const char* operand) const {
  for (const uint32_t offset : offsets) {
    if (offset + kUnitBytes > seen_.size())
      fail(std::string("wgmma: ") + operand + " reaches byte " + std::to_string(offset + kUnitBytes) + " of shared memory, of which the block has " + std::to_string(seen_.size()));
    if (std::memcmp(seen_.data() + offset, block_.shared + offset, kUnitBytes) != 0)
      fail(std::string("wgmma: ") + operand + " at byte " + std::to_string(offset) + " of shared memory was written, and no fence.proxy.async with a barrier behind it came since");
  }
}

// ---------------------------------------------------------------------------------------------------------------- instructions

void wgmmaFence() {
  int nothing = 0;
  productsOfWarp();
  collective(kFull, opProductFence, &nothing, 0, [](int**, uint32_t) { productsOfWarp().fence(); });
}
void wgmmaCommit() {
  int nothing = 0;
  productsOfWarp();
  collective(kFull, opProductCommit, &nothing, 0, [](int**, uint32_t) { productsOfWarp().commit(); });
}
void wgmmaWait(int groupsLeft) {
  int nothing = 0;
  productsOfWarp();
  collective(kFull, opProductWait, &nothing, 0, [groupsLeft](int**, uint32_t) { productsOfWarp().wait(groupsLeft); });
}

void wgmmaIssue(const ProductKind& kind, float* d, const uint32_t* a) {
  struct Slot { float* d; const uint32_t* a; ProductKind kind; } slot{d, a, kind};
  productsOfWarp();
  collective(kFull, opProduct, &slot, 0, [](Slot** s, uint32_t) {
    Registers d{{}, s[0]->kind.n / 2}, a{{}, s[0]->kind.aInRegisters ? 4 : 0};
    for (int lane = 0; lane < kWarpSize; lane++) {
      if (!(s[lane]->kind == s[0]->kind)) fail("wgmma: lanes of a warp issue different products");
      d.lanes[lane] = reinterpret_cast<uint32_t*>(s[lane]->d), a.lanes[lane] = const_cast<uint32_t*>(s[lane]->a);
    }
    productsOfWarp().issue(s[0]->kind, d, a);
  });
}

void fenceProxyAsync() { productsOfBlock().fence(current->linear); }

uint32_t sharedAddress(const void* pointer) { return static_cast<uint32_t>(static_cast<const char*>(pointer) - current->block->shared); }

}  // namespace emu
