import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configCases } from '../../faults/cases/config.ts';
import { fileCases } from '../../faults/cases/files.ts';
import { ggufCases } from '../../faults/cases/gguf.ts';
import { indexCases } from '../../faults/cases/index-json.ts';
import { pickleCases } from '../../faults/cases/pickle.ts';
import { safetensorsCases } from '../../faults/cases/safetensors.ts';
import { tokenizerCases } from '../../faults/cases/tokenizer.ts';

const rooms = [
  'packages/core/src/weights',
  'packages/core/src/models',
  'packages/core/src/tokenizer',
  'packages/server/src/node',
];
// A code is a string of capitals with a prefix, or what a ModelFormatError is made with.
const inSource = /'((?:ST|IX|PK|GG|CF|FS|WT|TOKENIZER)_[A-Z0-9_]+)'|ModelFormatError\(\s*'([A-Z0-9_]+)'|'(IO_ERROR)'/g;

function codesOfSources(): string[] {
  const codes = new Set<string>();
  for (const room of rooms) {
    for (const file of readdirSync(room, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      for (const match of readFileSync(join(room, file), 'utf8').matchAll(inSource))
        codes.add(match[1] ?? match[2] ?? match[3]!);
    }
  }
  return [...codes].sort();
}

describe('docs/model-format-errors.md', () => {
  const rows = [
    ...readFileSync('docs/model-format-errors.md', 'utf8').matchAll(/^\| `([A-Z0-9_]+)` \| (.+) \| (.+) \|$/gm),
  ];

  it('lists every code of the sources once, with its meaning and what to do, and no other', () => {
    expect(rows.map(row => row[1]).sort()).toEqual(codesOfSources());
    expect(rows.length).toBeGreaterThan(70);
  });

  it('has a bad folder for every code', () => {
    const cases = [...safetensorsCases, ...indexCases, ...pickleCases, ...configCases, ...fileCases, ...tokenizerCases];
    const tried = new Set([...cases.map(({ code }) => code), ...ggufCases.map(([, , code]) => code)]);
    // Values are looked at when they are quantised only. Names are checked before a source is asked for them, so no folder can hold a bad one.
    expect(rows.map(row => row[1]).filter(code => !tried.has(code!))).toEqual(['FS_NAME', 'WT_VALUE']);
  });
});
