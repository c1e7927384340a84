/** docs/engine-args.md against the code. `npx vitest run --project server test/server/engine-args-doc.test.ts -u` writes the table anew. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type EngineArg, engineArgs, toSnakeCase } from '@quire/core';
import { expect, it } from 'vitest';
import { engineFlags } from '../../packages/server/src/cli/engine-flags.ts';
import { root } from './build.ts';

const file = join(root, 'docs/engine-args.md');
const [START, END] = ['<!-- arguments -->\n', '<!-- end -->\n'];

function table(): string {
  const rows = Object.entries<EngineArg>(engineArgs).map(([name, { default: fallback, effect, refused = '' }]) => {
    const shown = typeof fallback === 'bigint' ? `${fallback}` : JSON.stringify(fallback === '' ? null : fallback);
    return [`\`${name}\``, `\`${toSnakeCase(name)}\``, `\`${shown}\``, effect, refused].map(escaped).join(' | ');
  });
  const head = ['argument', 'vLLM', 'default', 'effect', 'an error where it cannot be honoured'];
  return `| ${[head.join(' | '), head.map(() => '---').join(' | '), ...rows].join(' |\n| ')} |\n`;
}

const escaped = (cell: string) => cell.replaceAll('|', '\\|');

it('the table of arguments is that of the code', async () => {
  const text = readFileSync(file, 'utf8');
  const [before, rest] = text.split(START);
  const [, after] = rest!.split(END);
  await expect(`${before}${START}${table()}${END}${after}`).toMatchFileSnapshot(file);
});

it('every argument is in it once, and every one but the model is a flag', () => {
  const text = readFileSync(file, 'utf8');
  for (const name of Object.keys(engineArgs)) {
    expect(text.split(`| \`${name}\` |`), name).toHaveLength(2);
    const flag = toSnakeCase(name).replaceAll('_', '-');
    expect(Object.hasOwn(engineFlags, flag), flag).toBe(name !== 'model');
  }
});
