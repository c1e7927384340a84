import { readFileSync } from 'node:fs';

/**
 * The kernels of a cubin, which is an ELF64 file: by symbol, the machine code and the bytes of constant bank 0, where the
 * parameters lie.
 */
export function readCubin(path) {
  const bytes = readFileSync(path);
  const kernels = new Map();
  const sections = readSections(bytes);
  for (const [name, section] of sections) {
    if (!name.startsWith('.text.')) continue;
    const symbol = name.slice('.text.'.length);
    kernels.set(symbol, { code: section, constant: sections.get(`.nv.constant0.${symbol}`)?.length ?? 0 });
  }
  return kernels;
}

/** Contents by name. Fields are at the offsets of Elf64_Ehdr and Elf64_Shdr. */
function readSections(bytes) {
  const table = Number(bytes.readBigUInt64LE(0x28));
  const [entrySize, count, namesIndex] = [0x3a, 0x3c, 0x3e].map(at => bytes.readUInt16LE(at));
  const headers = Array.from({ length: count }, (_, i) => {
    const at = table + i * entrySize;
    const [offset, size] = [0x18, 0x20].map(field => Number(bytes.readBigUInt64LE(at + field)));
    return { name: bytes.readUInt32LE(at), contents: bytes.subarray(offset, offset + size) };
  });
  const names = headers[namesIndex].contents;
  return new Map(
    headers.map(({ name, contents }) => [names.toString('latin1', name, names.indexOf(0, name)), contents]),
  );
}
