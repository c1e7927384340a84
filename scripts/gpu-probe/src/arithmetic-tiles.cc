// Inputs whose sums tell how a tensor core aligns, orders and rounds. Matrices are placed by the layouts of the PTX ISA; the
// saved registers are valid data under any layout.
#include <cmath>
#include <cstring>

#include "fragments.h"

namespace {
struct Format {
  int exponentBits, fractionBits;
  int bias() const { return (1 << (exponentBits - 1)) - 1; }
  uint32_t infinity() const { return ((1u << exponentBits) - 1) << fractionBits; }
};
Format formatOf(Half type) { return type == Half::f16 ? Format{5, 10} : Format{8, 7}; }

int slotA(int row, int k) { return (row % 8 * 4 + k % 8 / 2) * 8 + 4 * (k / 8) + 2 * (row / 8) + k % 2; }
int slotB(int k, int column) { return (column * 4 + k % 8 / 2) * 4 + 2 * (k / 8) + k % 2; }
int slotD(int row, int column) { return (row % 8 * 4 + column / 2) * 4 + 2 * (row / 8) + column % 2; }

uint32_t floatBits(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  return bits;
}

class Maker {
 public:
  explicit Maker(Half type) : type_(type), format_(formatOf(type)), random_{kArithmeticSeed + static_cast<uint64_t>(type)} {}

  void randomTiles();
  void alignmentTiles();
  void blockTiles();
  void roundingTiles();
  std::vector<Tile> tiles;

 private:
  Tile& add(const char* category) {
    tiles.push_back({});
    tiles.back().category = category;
    return tiles.back();
  }
  // Random sign and fraction, exponent from low to high.
  uint16_t normal(int low, int high) { return halfBits(type_, random_.below(2), low + random_.below(high - low + 1), random_.below(1u << format_.fractionBits)); }
  uint16_t subnormal() { return static_cast<uint16_t>(random_.below(2) << 15 | random_.below(1u << format_.fractionBits)); }
  uint16_t special();
  uint32_t normalFloat(int low, int high) { return random_.below(2) << 31 | (127 + low + random_.below(high - low + 1)) << 23 | random_.below(1u << 23); }
  uint32_t specialFloat();
  uint16_t power(int exponent, bool negative = false) { return halfBits(type_, negative, exponent); }

  template <class A, class B, class C>
  void fill(const char* category, int count, A a, B b, C c);
  void cancellation(Tile& tile);

  Half type_;
  Format format_;
  Random random_;
};

uint16_t Maker::special() {
  const uint32_t inf = format_.infinity();
  const uint32_t choices[] = {0, 0x8000, inf, inf | 0x8000, inf | 1, inf - 1, 1, power(0), power(0, true), power(1)};
  // Mostly ordinary values, so that not every sum is NaN.
  return random_.below(12) == 0 ? static_cast<uint16_t>(choices[random_.below(10)]) : normal(-3, 0);
}
uint32_t Maker::specialFloat() {
  const uint32_t choices[] = {0, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00001, 0x7f7fffff, 1, 0x3f800000};
  return random_.below(4) == 0 ? choices[random_.below(8)] : normalFloat(-3, 3);
}

template <class A, class B, class C>
void Maker::fill(const char* category, int count, A a, B b, C c) {
  for (int i = 0; i < count; i++) {
    Tile& tile = add(category);
    for (auto& x : tile.a) x = a();
    for (auto& x : tile.b) x = b();
    for (auto& x : tile.c) x = c();
  }
}

void Maker::randomTiles() {
  // Exponents that keep every f16 and bf16 product normal.
  const int wide = type_ == Half::f16 ? 14 : 30;
  const auto uniform = [this] { return normal(-4, -1); };
  const auto wideValue = [this, wide] { return normal(-wide, wide); };
  const auto zero = [] { return 0u; };
  fill("uniform", 4, uniform, uniform, zero);
  fill("accumulate", 4, uniform, uniform, [this] { return normalFloat(-4, 6); });
  fill("wide", 6, wideValue, wideValue, [this, wide] { return normalFloat(-wide, wide); });
  fill("subnormal inputs", 4, [this] { return subnormal(); }, [this] { return random_.below(2) ? subnormal() : normal(-3, 3); }, zero);
  fill("subnormal accumulator", 2, [this] { return subnormal(); }, zero, [this] { return random_.below(2) << 31 | random_.below(1u << 23); });
  if (type_ == Half::bf16) {
    const auto tiny = [this] { return normal(-74, -62); };
    const auto huge = [this] { return normal(58, 66); };
    fill("subnormal results", 4, tiny, tiny, [this] { return random_.below(2) << 31 | random_.below(1u << 20); });
    fill("overflow", 4, huge, huge, [this] { return normalFloat(120, 127); });
  }
  fill("special values", 6, [this] { return special(); }, [this] { return special(); }, [this] { return specialFloat(); });
  for (int i = 0; i < 4; i++) cancellation(add("cancellation"));
}

// Column pairs k, k + 8 cancel up to the last fraction bit of some.
void Maker::cancellation(Tile& tile) {
  for (int row = 0; row < 16; row++) {
    for (int k = 0; k < 8; k++) {
      const uint16_t x = normal(-6, 6);
      tile.a[slotA(row, k)] = x;
      tile.a[slotA(row, k + 8)] = static_cast<uint16_t>((x ^ 0x8000) ^ random_.below(2));
    }
  }
  for (int column = 0; column < 8; column++) {
    for (int k = 0; k < 8; k++) tile.b[slotB(k, column)] = tile.b[slotB(k + 8, column)] = normal(-3, 3);
  }
}

// One large term of 2^6 and small ones of 2^-6 to 2^-28: which of them still count? Variants: the large term as a product or
// as the accumulator, one small term or fifteen, and the large term taken away again at the end.
void Maker::alignmentTiles() {
  struct Variant { const char* category; bool largeInC, takenAway, many; };
  const Variant variants[] = {
      {"alignment: product", false, false, false},          {"alignment: accumulator", true, false, false},
      {"alignment: product, many small", false, false, true}, {"alignment: accumulator, many small", true, false, true},
      {"alignment: product, taken away", false, true, false}, {"alignment: accumulator, taken away", true, true, false},
  };
  for (const Variant& v : variants) {
    Tile& tile = add(v.category);
    for (int row = 0; row < 16; row++) {
      for (int k = 1; k < (v.many ? 15 : 2); k++) tile.a[slotA(row, k)] = power(1 - row);
      if (!v.largeInC) tile.a[slotA(row, 0)] = power(3);
      if (v.takenAway) tile.a[slotA(row, 15)] = power(3, true);
    }
    for (int column = 0; column < 8; column++) {
      for (int k = 1; k < 15; k++) tile.b[slotB(k, column)] = power(-7 - column);
      tile.b[slotB(0, column)] = tile.b[slotB(15, column)] = power(3);
    }
    if (v.largeInC) tile.c.fill(floatBits(64.0f));
  }
}

// A large term at k = row, its opposite at k = j, and small ones elsewhere: those summed apart from the large pair survive, so
// the count of survivors shows how k is divided into blocks. Columns add a term through the accumulator.
void Maker::blockTiles() {
  const int large = type_ == Half::f16 ? 15 : 20, small = type_ == Half::f16 ? -14 : -20;
  const float accumulators[] = {0, std::ldexp(1.0f, small), -std::ldexp(1.0f, small), std::ldexp(1.0f, large), -std::ldexp(1.0f, large), std::ldexp(1.0f, small + 3), 1.0f, 0};
  for (const int j : {0, 1, 3, 4, 7, 8, 11, 12, 15}) {
    Tile& tile = add("blocks");
    for (int row = 0; row < 16; row++) {
      for (int k = 0; k < 16; k++) tile.a[slotA(row, k)] = power(small);
      tile.a[slotA(row, j)] = power(large, true);
      tile.a[slotA(row, row)] = power(large);
      for (int column = 0; column < 8; column++) tile.c[slotD(row, column)] = floatBits(accumulators[column]);
    }
    tile.b.fill(power(0));
  }
}

// An accumulator of 1 or one of its three successors, positive or negative, plus row * 2^-27: sixteenths of its last place.
void Maker::roundingTiles() {
  for (const bool subtract : {false, true}) {
    Tile& tile = add(subtract ? "rounding: subtract" : "rounding: add");
    for (int row = 1; row < 16; row++) {
      int exponent = 3;
      while (!(row >> exponent & 1)) exponent--;
      const uint32_t fraction = (static_cast<uint32_t>(row) << (format_.fractionBits - exponent)) & ((1u << format_.fractionBits) - 1);
      tile.a[slotA(row, 0)] = halfBits(type_, subtract, exponent - 14, fraction);
    }
    for (int column = 0; column < 8; column++) {
      tile.b[slotB(0, column)] = power(-13, column / 4);
      for (int row = 0; row < 16; row++) tile.c[slotD(row, column)] = (column / 4 ? 0xbf800000 : 0x3f800000) + column % 4;
    }
  }
}
}  // namespace

uint16_t halfBits(Half type, bool negative, int exponent, uint32_t fraction) {
  const Format f = formatOf(type);
  const uint32_t sign = negative ? 0x8000 : 0;
  const int field = exponent + f.bias();
  if (field >= 1 && field < (1 << f.exponentBits) - 1 && fraction < 1u << f.fractionBits) return static_cast<uint16_t>(sign | field << f.fractionBits | fraction);
  // A power of two below the normal ones.
  if (fraction == 0 && field <= 0 && f.fractionBits - 1 + field >= 0) return static_cast<uint16_t>(sign | 1u << (f.fractionBits - 1 + field));
  throw std::logic_error(format("2^%d with fraction %u is no %s", exponent, fraction, nameOf(type)));
}

std::vector<Tile> arithmeticTiles(Half type) {
  Maker maker(type);
  maker.randomTiles();
  maker.alignmentTiles();
  maker.blockTiles();
  maker.roundingTiles();
  return maker.tiles;
}
