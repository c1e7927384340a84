// Launch functions of the operations of the rows of the running requests; see kernels.h.
#pragma once
#include "step.h"

namespace quire {

struct ApplyRowDelta { Tensor delta, rows, blockTables, tokenIds, batch, biases; };
struct PrepareInputs { Tensor batch, rows, tokenIds, blockTables, inputIds, positions, slotMapping, sequences; int blockSize; };
struct PrepareSamples { Tensor batch, sequences, tokenIds, samples; };
struct AdvanceRows { Tensor batch, sequences, samples, sampled, rows, tokenIds, ring; int ringSlots; };
struct GatherRows { Tensor x, samples, out; };

cudaError_t applyRowDelta(const ApplyRowDelta&, const Step&);
cudaError_t prepareInputs(const PrepareInputs&, const Step&);
cudaError_t prepareSamples(const PrepareSamples&, const Step&);
cudaError_t advanceRows(const AdvanceRows&, const Step&);
cudaError_t gatherRows(const GatherRows&, const Step&);

}  // namespace quire
