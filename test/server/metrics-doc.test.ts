/** docs/metrics.md against the server: names, types, labels, buckets. `npx vitest run --project server test/server/metrics-doc.test.ts -u` writes the table anew. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { root } from './build.ts';
import { type FakeServer, startFakeServer } from './fake-server.ts';

const file = join(root, 'docs/metrics.md');
const [START, END] = ['<!-- metrics -->\n', '<!-- end -->\n'];

let fake: FakeServer;
beforeAll(async () => {
  fake = await startFakeServer(async function* () {
    yield 'a';
  });
  fake.engine.acceptedPerPosition = [3, 1];
  await (await fetch(`${fake.origin}/v1/models/fake`)).text();
});
afterAll(() => fake.server.close(0));

interface Family {
  name: string;
  type: string;
  help: string;
  labels: Set<string>;
  buckets: Set<string>;
}

async function families(): Promise<Family[]> {
  const text = await (await fetch(`${fake.origin}/metrics`)).text();
  const found: Family[] = [];
  for (const line of text.split('\n')) {
    const help = /^# HELP (\S+) (.*)$/.exec(line);
    if (help) found.push({ name: help[1]!, help: help[2]!, type: '', labels: new Set(), buckets: new Set() });
    const family = found.at(-1)!;
    const type = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (type) family.type = type[2]!;
    for (const [, label, value] of line.startsWith('#') ? [] : line.matchAll(/[{,](\w+)="([^"]*)"/g)) {
      if (label === 'le') family.buckets.add(value!);
      else family.labels.add(label!);
    }
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Lists of buckets stand below the table, each once. */
function table(all: readonly Family[]): string {
  const lists = [...new Set(all.filter(f => f.buckets.size > 0).map(f => [...f.buckets].join(' ')))];
  const rows = all.map(({ name, type, help, labels, buckets }) => {
    const list = buckets.size === 0 ? '' : ` ${lists.indexOf([...buckets].join(' ')) + 1}`;
    return [`\`${name}\``, `${type}${list}`, [...labels].join(', '), help].join(' | ');
  });
  const head = ['metric', 'type', 'labels', 'what'];
  const legend = lists.map((list, i) => `${i + 1}. ${list}\n`).join('');
  return `| ${[head.join(' | '), head.map(() => '---').join(' | '), ...rows].join(' |\n| ')} |\n\nBuckets, by the number behind \`histogram\`; those of tokens per request go up to the context, here 4096:\n\n${legend}`;
}

it('the table of metrics is what the server exposes', async () => {
  const text = readFileSync(file, 'utf8');
  const [before, rest] = text.split(START);
  const [, after] = rest!.split(END);
  await expect(`${before}${START}${table(await families())}${END}${after}`).toMatchFileSnapshot(file);
});

it('names are well formed: counters end in _total, and every metric has help', async () => {
  for (const { name, type, help } of await families()) {
    expect(name).toMatch(/^[a-z][a-z0-9_:]*$/);
    expect(['counter', 'gauge', 'histogram', 'summary']).toContain(type);
    expect(help, name).toMatch(/\.$/);
    if (type === 'counter') expect(name).toMatch(/_total$/);
  }
});
