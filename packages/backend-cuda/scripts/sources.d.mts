export const packageFolder: string;
/** Files below a folder of the package, with one of these endings, as paths from the package; sorted. */
export function listSources(folder: string, ...endings: string[]): string[];
/** Whether a source has kernels on warpgroup products, which are compiled for sm_90a alone. */
export function isWgmma(source: string): boolean;
/** A hash of everything that decides what nvcc makes of the kernels. */
export function kernelHash(): string;
/** A hash of everything that decides what nvcc makes of the kernels that have budgets. */
export function hotKernelHash(): string;
/** A hash of the cases that budgets are held against. */
export function budgetHash(): string;
