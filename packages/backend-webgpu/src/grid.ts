/** Largest number of workgroups in one dimension of a dispatch, at the default limits. */
export const MAX_WORKGROUPS = 65535;

/**
 * A number of workgroups as a grid that the limits allow: folded into two dimensions above 65,535, with less than one row to
 * spare. Kernels number their workgroup x + y * width and ignore those beyond their work. Undefined when there is no work.
 */
export function dispatchGrid(workgroups: number): [number, number] | undefined {
  if (workgroups <= 0) return undefined;
  const height = Math.ceil(workgroups / MAX_WORKGROUPS);
  return [Math.ceil(workgroups / height), height];
}
