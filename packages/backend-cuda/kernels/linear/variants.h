// The forms of linear and of its gated twin. linear.cu chooses one from dtypes, shapes and the number of rows.
//
// Every form but split sums an output over K in an order that depends on K and N alone: not on the number of rows, not on the chip.
// Bit-equal among each other are swapAb and tiled. gemv and streaming agree with themselves at any number of rows, and with
// no other form. split alone has no such order: it is for steps that need not be batch invariant.
#pragma once
#include "../ops/linear.h"

namespace quire {

struct LinearProblem {
  Tensor x, weight, out, bias, residual;
  Activation activation = Activation::none;
  int outColumn = 0;
  // The weight's rows are n of gates, then n of ups: out = activation(gate) * up.
  bool gated = false;

  int rows() const { return out.rows; }
  // Columns of the output that are written.
  int n() const { return gated ? weight.rows / 2 : weight.rows; }
  int k() const { return static_cast<int>(weight.columns); }
};

// Rows of 16 bytes: what the forms below need of K and of the addresses.
bool hasWideRows(const LinearProblem&);

// Takes the library or the form that suits.
cudaError_t linearLaunch(const LinearProblem&, const Step&);
// Bytes of workspace for a problem of so many rows or fewer.
size_t linearWorkspace(const LinearProblem&, bool batchInvariant, const LinearLibrary*);
// Takes the form that suits.
cudaError_t linearOwnLaunch(const LinearProblem&, const Step&);

// The output from its sums, [rows][weight rows]: bias, activation, residual or gate. n is a multiple of 4.
cudaError_t linearEpilogueLaunch(const LinearProblem&, const float* sums, const Step&);

// Any dtypes, any shape.
cudaError_t linearStreamingLaunch(const LinearProblem&, const Step&);
// Wide rows, any dtypes: f32 arithmetic, best at 1 to 4 rows.
cudaError_t linearGemvLaunch(const LinearProblem&, const Step&);
// Wide rows, x and weight both f16 or both bf16: tensor cores, up to kSwapAbRows rows.
constexpr int kSwapAbRows = 64;
cudaError_t linearSwapAbLaunch(const LinearProblem&, const Step&);
// The same dtypes, any number of rows, with K split over blocks where they are few: the sums depend on the number of rows.
cudaError_t linearSplitLaunch(const LinearProblem&, const Step&);
// Bytes of scratch that it needs at most.
constexpr size_t kSplitScratch = size_t{264} * 128 * 128 * 4;
// As swapAb and bit-equal to it, best at many rows.
cudaError_t linearTiledLaunch(const LinearProblem&, const Step&);

}  // namespace quire
