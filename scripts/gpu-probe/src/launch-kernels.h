// Kernels whose work is nothing, or a sum that comes out right only in the right order.
#pragma once
#include "probe.h"

struct Chain {
  unsigned* value;  // null: the kernel does nothing at all
  unsigned addend;  // value = value * kChainFactor + addend
};
constexpr unsigned kChainFactor = 1664525;

// How a kernel follows the one in front: after it; started while that one runs down, or as soon as that one's blocks run. The
// last two wait before they touch the value.
enum class Form { plain, dependent, dependentEarly };
inline const char* nameOf(Form form) {
  return form == Form::plain ? "plain" : form == Form::dependent ? "dependent" : "dependent, early";
}

void enqueueLink(const Probe& probe, Chain chain, Form form, unsigned blocks, unsigned threads);
// All blocks meet `barriers` times; after each, every block checks that all others have written its number. Counts what is
// missing into *missing. `state` and `arrived` are zero before the first launch.
struct BarrierArrays {
  unsigned *state, *arrived, *missing;
};
void enqueueBarriers(const Probe& probe, const BarrierArrays& arrays, int barriers, bool check, unsigned blocks, unsigned threads);
