/** Path of the generated module. */
export const outputFile: string;
/** Its text, as the files in shaders/ make it now. */
export function generate(): string;
