// Stage 2: what the tensor-core instructions do with registers. Registers travel raw: the host decides what each slot of each
// lane holds, and every answer is saved as it came.
#pragma once
#include <array>

#include "probe.h"

// A slot is one element of one lane's registers. A: 8 per lane (register i / 2, low half first), B: 4, C and D: 4 (f32).
constexpr int kLanes = 32, kSlotsA = 256, kSlotsB = 128, kSlotsD = 128;

enum class Half { f16, bf16 };
inline const char* nameOf(Half type) { return type == Half::f16 ? "f16" : "bf16"; }

struct Tile {
  const char* category = "";
  std::array<uint16_t, kSlotsA> a{};
  std::array<uint16_t, kSlotsB> b{};
  std::array<uint32_t, kSlotsD> c{}, d{};
};

// The device's answers: sets d of each tile. One warp per tile.
void runTiles(const Probe& probe, Half type, std::vector<Tile>& tiles);

// ldmatrix.x4 on shared memory that holds 0, 1, 2 ... in its 256 elements; lane i passes the address of row rows[i].
std::vector<uint32_t> runLdmatrix(const Probe& probe, bool transpose, const std::array<uint32_t, kLanes>& rows);
// movmatrix.trans; lane i passes the pair 2 i, 2 i + 1.
std::vector<uint32_t> runTranspose(const Probe& probe);

// Seeded tiles that show how products are summed: alignment, order, rounding, subnormals, special values.
std::vector<Tile> arithmeticTiles(Half type);
constexpr uint64_t kArithmeticSeed = 20260122;

// A 16-bit value from its parts: sign, power of two, and fraction bits below the leading one. Rounds nothing: what does not
// fit is an error.
uint16_t halfBits(Half type, bool negative, int exponent, uint32_t fraction = 0);
