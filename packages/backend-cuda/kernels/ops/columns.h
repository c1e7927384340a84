// Launch functions of the operations that some models have beside those of layers.h; see kernels.h.
#pragma once
#include "step.h"

namespace quire {

struct Scale { Tensor x, out; float factor, softCap; };
struct NormColumns { Tensor x, weight; float eps; int column; };
struct Pool { Tensor x, sequences, out; bool sum; };

cudaError_t scale(const Scale&, const Step&);
cudaError_t normColumns(const NormColumns&, const Step&);
cudaError_t pool(const Pool&, const Step&);

}  // namespace quire
