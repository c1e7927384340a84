// The order of the tiles of a product with many rows, for every form of linear that has them.
#pragma once
#include "gpu.h"

namespace quire {

// A tile in blocks of rows of the weight and of rows of x.
struct TilePlace {
  int weights, rows;
};
// Tiles are numbered in bands of rows of x, such that those at work at one time share weights and rows in the second cache.
__device__ __forceinline__ TilePlace tilePlace(int tile, int weightBlocks, int rowBlocks) {
  constexpr int kBand = 8;
  const int band = tile / (kBand * weightBlocks), inBand = tile % (kBand * weightBlocks);
  const int bandRows = rowBlocks - band * kBand < kBand ? rowBlocks - band * kBand : kBand;
  return {inBand / bandRows, band * kBand + inBand % bandRows};
}

}  // namespace quire
