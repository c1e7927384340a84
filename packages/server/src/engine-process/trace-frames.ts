import type { StepTrace } from '@quire/core';

/** One line: arrays of any kind as lists of numbers. */
export function traceJson(trace: StepTrace): string {
  return JSON.stringify(trace, (_, value) => (ArrayBuffer.isView(value) ? [...(value as Int32Array)] : value));
}

/** A trace on its way through the front end, which hands it on and does not read it: JSON in UTF-8, padded with spaces. */
export function traceWords(trace: StepTrace): Uint32Array {
  const text = traceJson(trace);
  const words = new Uint32Array(Math.ceil(Buffer.byteLength(text) / 4));
  Buffer.from(words.buffer).fill(' ').write(text);
  return words;
}

export function traceText(words: Uint32Array): string {
  return Buffer.from(words.buffer, words.byteOffset, words.byteLength).toString();
}
