// The forms of linear and of its gated twin for a quantised weight. quantized.cu chooses one.
#pragma once
#include "../lib/quantized.h"
#include "variants.h"

namespace quire {

// Takes the form that suits.
cudaError_t linearQuantLaunch(const LinearProblem&, const Step&);
// Any dtype and shape, in f32.
cudaError_t linearQuantGemvLaunch(const LinearProblem&, const Step&);
// Activations of 16 bits with rows of 16 bytes: tensor cores, any number of rows. Both have the same bits; tiled is for many.
cudaError_t linearQuantSwapAbLaunch(const LinearProblem&, const Step&);
cudaError_t linearQuantTiledLaunch(const LinearProblem&, const Step&);
// q8, the same activations: through a float weight in the workspace and the step's library. The sums depend on the number of rows.
cudaError_t linearQuantLibraryLaunch(const LinearProblem&, const Step&);
// Bytes of workspace for a problem of so many rows or fewer; 0 for one that it does not suit.
size_t linearQuantLibraryWorkspace(const LinearProblem&, const LinearLibrary&);

}  // namespace quire
