export const packageFolder: string;
/** Files below a folder of the package, with one of these endings, as paths from the package; sorted. */
export function listSources(folder: string, ...endings: string[]): string[];
/** A hash of everything that decides what nvcc makes of the kernels. */
export function kernelHash(): string;
/** A hash of everything that decides what nvcc makes of the kernels that have budgets. */
export function hotKernelHash(): string;
/** A hash of the cases that budgets are held against. */
export function budgetHash(): string;
