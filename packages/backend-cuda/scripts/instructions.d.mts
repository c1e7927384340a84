/** How often each kind stands in machine code, wide accesses (16 bytes) apart; and the register loads in flight of a thread. */
export function summarize(
  code: Buffer,
  architecture: 'sm_80' | 'sm_90',
): Record<
  | 'instructions'
  | 'local'
  | 'tensorCore'
  | 'matrixLoad'
  | 'asyncCopies'
  | 'wideAsyncCopies'
  | 'loads'
  | 'wideLoads'
  | 'stores'
  | 'wideStores'
  | 'loadBytesInFlight'
  | 'addsBesideProducts',
  number
>;
