// Stage 2: writes fragments.json, mma-f16.json and mma-bf16.json, whose format README.md describes.
#include "fragments.h"

#include <cstdio>

#include "stages.h"

namespace {
// A JSON file of a device's answers, with where they come from at its head.
class Fixture {
 public:
  Fixture(const Probe& probe, const char* name) : path_(probe.folder + "/" + name), file_(std::fopen(path_.c_str(), "w")) {
    if (file_ == nullptr) throw std::runtime_error("cannot write " + path_);
    std::fprintf(file_, "{\n\"format\": 1,\n\"device\": %s,\n\"capability\": %d,\n\"date\": \"%s\",\n\"commit\": \"%s\"", JsonLine::quoted(probe.deviceName).c_str(), probe.capability, utcNow().c_str(), commitOfBuild());
  }
  ~Fixture() {
    if (file_ != nullptr) std::fclose(file_);
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  void add(const char* key, const std::string& json) { std::fprintf(file_, ",\n\"%s\": %s", key, json.c_str()); }
  void close() {
    std::fputs("\n}\n", file_);
    const bool failed = std::ferror(file_) != 0 || std::fclose(file_) != 0;
    file_ = nullptr;
    if (failed) throw std::runtime_error("writing " + path_ + " failed");
  }

 private:
  std::string path_;
  std::FILE* file_;
};

template <class List, class Text>
std::string jsonArray(const List& list, const char* separator, Text text) {
  std::string out;
  for (const auto& item : list) out += (out.empty() ? "[" : separator) + text(item);
  return out.empty() ? "[]" : out + "]";
}
std::string jsonNumbers(const std::vector<uint32_t>& list) {
  return jsonArray(list, ",", [](uint32_t x) { return std::to_string(x); });
}

template <class List>
std::string hex(const List& list) {
  std::string out;
  for (const auto x : list) out += format(sizeof x == 2 ? "%04x" : "%08x", static_cast<unsigned>(x));
  return out;
}

// The slots of d that are not +0, with their bits.
std::string nonzero(const Tile& tile) {
  std::vector<uint32_t> pairs;
  for (uint32_t slot = 0; slot < kSlotsD; slot++) {
    if (tile.d[slot] != 0) pairs.insert(pairs.end(), {slot, tile.d[slot]});
  }
  return jsonNumbers(pairs);
}

// 1, 2, 3 ... 256, all exact in both types.
uint16_t code(Half type, uint32_t value) {
  int exponent = 8;
  while (!(value >> exponent & 1)) exponent--;
  const int bits = type == Half::f16 ? 10 : 7;
  const uint32_t rest = value & ((1u << exponent) - 1);
  return halfBits(type, false, exponent, exponent > bits ? rest >> (exponent - bits) : rest << (bits - exponent));
}

// One tile per slot of A (or B): a one in that slot, the other operand's slots numbered from 1.
std::vector<Tile> oneHotTiles(Half type, bool inA) {
  std::vector<Tile> tiles(inA ? kSlotsA : kSlotsB);
  for (size_t hot = 0; hot < tiles.size(); hot++) {
    Tile& tile = tiles[hot];
    (inA ? tile.a[hot] : tile.b[hot]) = halfBits(type, false, 0);
    if (inA) for (int i = 0; i < kSlotsB; i++) tile.b[i] = code(type, i + 1);
    else for (int i = 0; i < kSlotsA; i++) tile.a[i] = code(type, i + 1);
  }
  return tiles;
}

std::string mmaLayout(const Probe& probe, Half type) {
  std::string parts[2];
  for (const bool inA : {true, false}) {
    std::vector<Tile> tiles = oneHotTiles(type, inA);
    runTiles(probe, type, tiles);
    parts[inA ? 0 : 1] = jsonArray(tiles, ",\n", nonzero);
  }
  std::vector<Tile> accumulator(1);
  for (int i = 0; i < kSlotsD; i++) accumulator[0].c[i] = 0x3f800000 + i;
  runTiles(probe, type, accumulator);
  return "{\"oneHotA\": " + parts[0] + ",\n\"oneHotB\": " + parts[1] + ",\n\"accumulator\": " + nonzero(accumulator[0]) + "}";
}

std::string ldmatrixLayout(const Probe& probe, bool transpose) {
  std::array<uint32_t, kLanes> inOrder, mixed;
  for (uint32_t lane = 0; lane < kLanes; lane++) inOrder[lane] = lane, mixed[lane] = (5 * lane + 3) % kLanes;
  return "{\"rows in order\": " + jsonNumbers(runLdmatrix(probe, transpose, inOrder)) + ",\n\"rows (5 i + 3) % 32\": " + jsonNumbers(runLdmatrix(probe, transpose, mixed)) + "}";
}

void writeLayouts(const Probe& probe) {
  Fixture file(probe, "fragments.json");
  for (const Half type : {Half::f16, Half::bf16}) file.add(type == Half::f16 ? "mma f16" : "mma bf16", mmaLayout(probe, type));
  file.add("ldmatrix", ldmatrixLayout(probe, false));
  file.add("ldmatrix trans", ldmatrixLayout(probe, true));
  file.add("movmatrix trans", jsonNumbers(runTranspose(probe)));
  file.close();
}

size_t writeArithmetic(const Probe& probe, Half type) {
  std::vector<Tile> tiles = arithmeticTiles(type);
  runTiles(probe, type, tiles);
  Fixture file(probe, type == Half::f16 ? "mma-f16.json" : "mma-bf16.json");
  file.add("type", JsonLine::quoted(nameOf(type)));
  file.add("seed", std::to_string(kArithmeticSeed));
  file.add("tiles", jsonArray(tiles, ",\n", [](const Tile& t) {
    return "{\"category\": " + JsonLine::quoted(t.category) + ", \"a\": \"" + hex(t.a) + "\", \"b\": \"" + hex(t.b) + "\", \"c\": \"" + hex(t.c) + "\", \"d\": \"" + hex(t.d) + "\"}";
  }));
  file.close();
  return tiles.size();
}
}  // namespace

void fragmentsStage(const Probe& probe) {
  writeLayouts(probe);
  probe.line("layouts").put("file", "fragments.json").emit();
  for (const Half type : {Half::f16, Half::bf16}) {
    const size_t tiles = writeArithmetic(probe, type);
    probe.line("mma bits").put("file", format("mma-%s.json", nameOf(type))).put("tiles", tiles).emit();
  }
  probe.headline("fragments.json, mma-f16.json and mma-bf16.json are written");
}
