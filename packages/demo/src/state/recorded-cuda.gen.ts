/** Made by scripts/record-cuda.mjs. */
export const recordedCuda = {
  device: 'emulated',
  commit: 'bcedd15',
};

export const cudaRows: ReadonlyMap<string, { readonly cases: number; readonly failed: number; readonly worst: number | null }> = new Map([
  ['applyRowDelta', { cases: 40, failed: 0, worst: 0.000 }],
  ['prepareInputs', { cases: 50, failed: 0, worst: 0.000 }],
  ['prepareSamples', { cases: 49, failed: 0, worst: 0.000 }],
  ['advanceRows', { cases: 44, failed: 0, worst: 0.000 }],
  ['embed', { cases: 105, failed: 0, worst: 0.000 }],
  ['rmsNorm', { cases: 54, failed: 0, worst: 0.103 }],
  ['layerNorm', { cases: 50, failed: 0, worst: 0.680 }],
  ['linear', { cases: 166, failed: 0, worst: 0.934 }],
  ['gatedLinear', { cases: 93, failed: 0, worst: 0.645 }],
  ['rope', { cases: 130, failed: 0, worst: 0.298 }],
  ['kvWrite', { cases: 84, failed: 0, worst: 0.000 }],
  ['ropeKvWrite', { cases: 95, failed: 0, worst: 0.948 }],
  ['pagedAttention', { cases: 188, failed: 0, worst: 0.569 }],
  ['gatedActivation', { cases: 78, failed: 0, worst: 0.065 }],
  ['add', { cases: 72, failed: 0, worst: 0.000 }],
  ['gatherRows', { cases: 58, failed: 0, worst: 0.000 }],
  ['copyBlocks', { cases: 40, failed: 0, worst: 0.000 }],
  ['zeroBlocks', { cases: 30, failed: 0, worst: 0.000 }],
  ['penalties', { cases: 57, failed: 0, worst: 0.190 }],
  ['biasLogits', { cases: 55, failed: 0, worst: 0.000 }],
  ['maskLogits', { cases: 55, failed: 0, worst: 0.000 }],
  ['filterLogits', { cases: 75, failed: 0, worst: 0.000 }],
  ['sample', { cases: 88, failed: 0, worst: 0.000 }],
  ['argmax', { cases: 54, failed: 0, worst: 0.000 }],
  ['logProbs', { cases: 79, failed: 0, worst: 0.181 }],
]);
