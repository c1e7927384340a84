import { ModelFormatError } from '../errors.ts';

/** A name that can only mean a file directly in the folder, on any operating system: no separator, drive, scheme or dot name. */
export function isPlainFileName(name: string): boolean {
  if (name === '' || name === '.' || name === '..' || name.length > 255) return false;
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (c < 0x20 || c === 0x7f || c === 0x2f || c === 0x5c || c === 0x3a) return false;
  }
  return true;
}

/** The settings of a step of sentence-transformers, such as `1_Pooling/config.json`: the only files read in a subfolder. */
export function isModuleFile(name: string): boolean {
  return /^[0-9]{1,2}_[A-Za-z]{1,32}\/config\.json$/.test(name);
}

/** The error of a read that got fewer bytes than asked for. */
export function shortRead(file: string, size: number, start: number, end: number): ModelFormatError {
  return new ModelFormatError('IO_ERROR', 'the file ended early', {
    file,
    offset: start,
    found: `${size} bytes in the file`,
    expected: `bytes ${start} to ${end}`,
    advice: 'The file was changed or cut off while it was read: check it and load the model again.',
  });
}
