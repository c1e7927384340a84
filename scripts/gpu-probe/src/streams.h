// Kernels that do nothing but move memory, with the number of 16-byte accesses in flight as a parameter.
#pragma once
#include "probe.h"

enum class Move { read, copy, write, readAsync };

struct MoveShape {
  Move move;
  int loadsPerLane;  // 1, 2, 4, 8, 16; for readAsync the stages of the ring: 2, 4, 8
  int warpsPerBlock;
  int blocksPerSm;
  size_t bytesInFlightPerSm() const { return size_t{16} * 32 * loadsPerLane * warpsPerBlock * blocksPerSm; }
};

// Moves `bytes` (a multiple of a block's tile) `passes` times. Each thread puts the xor of what it read into checks, where
// that is not null. False where the shape does not fit the device.
bool shapeFits(const MoveShape& shape);
void enqueueMove(const Probe& probe, const MoveShape& shape, const uint4* from, uint4* to, size_t bytes, int passes, unsigned* checks);
// Random words: the same function of the index everywhere.
void enqueueFill(const Probe& probe, uint4* to, size_t bytes);
uint4 fillAt(size_t index);

// One lane follows `steps` links through the words of `links`, from the word that *end names; leaves there where it came.
void enqueueChase(const Probe& probe, const unsigned* links, unsigned* end, int steps);
