import type { FlagSpec, FlagSpecs } from './flags.ts';

export interface FlagGroup {
  readonly title: string;
  readonly flags: FlagSpecs;
}

const HELP_COLUMN = 34;
const WIDTH = 110;

/** Help of one command: what it does, how to call it, its flags in groups. */
export function commandHelp(usage: readonly string[], about: string, groups: readonly FlagGroup[]): string {
  const lines = ['Usage:', ...usage.map(line => `  quire ${line}`), '', ...wrap(about, WIDTH)];
  for (const { title, flags } of groups) {
    lines.push('', `${title}:`);
    for (const [name, spec] of Object.entries(flags)) lines.push(...flagHelp(name, spec));
  }
  return `${lines.join('\n')}\n`;
}

function flagHelp(name: string, spec: FlagSpec): string[] {
  const short = spec.short === undefined ? '' : `-${spec.short}, `;
  const head = `  ${short}--${name}${spec.type === 'boolean' ? '' : ` ${spec.value ?? 'VALUE'}`}`;
  const text = spec.env === undefined ? spec.help : `${spec.help} Environment: ${spec.env}.`;
  return twoColumns(head, text);
}

/** `head` on the left, `text` wrapped on the right. */
export function twoColumns(head: string, text: string): string[] {
  const indent = ' '.repeat(HELP_COLUMN);
  const [first = '', ...rest] = wrap(text, WIDTH - HELP_COLUMN);
  const lines = head.length < HELP_COLUMN ? [head.padEnd(HELP_COLUMN) + first] : [head, indent + first];
  return [...lines, ...rest.map(line => indent + line)];
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}

/** Rows as aligned columns: the first column left, numbers right. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, c) => Math.max(...all.map(row => (row[c] ?? '').length)));
  const numeric = header.map((_, c) => rows.length > 0 && rows.every(row => /^[-\d.,%x ]*$/.test(row[c] ?? '')));
  const format = (row: readonly string[]) =>
    row
      .map((cell, c) => (numeric[c] ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)))
      .join('  ')
      .trimEnd();
  return `${all.map(format).join('\n')}\n`;
}
