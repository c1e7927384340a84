/**
 * The process in which a bad model folder is loaded: a message names the folder, the answer tells what came of it. It watches its
 * own peak memory, and every path that is opened.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import type { ModelSource } from '@quire/core/weights';
import type { Request, Verdict } from './protocol.ts';

const opened: string[] = [];
const realOpen = fs.open;
fs.open = (path, ...rest) => {
  opened.push(String(path));
  return realOpen(path, ...rest);
};
// Modules that import `open` by name see the watching one: they are loaded after this.
syncBuiltinESMExports();
const { MemorySource } = await import('@quire/core/weights');
const { openFolderSource } = await import('../../../packages/server/src/node/folder-source.ts');
const { loadFolder } = await import('./load-folder.ts');

/** Resident bytes, now and at the highest since the last reset (Linux; elsewhere both are the present size). */
function residentBytes(): { now: number; peak: number } {
  if (process.platform !== 'linux') return { now: process.memoryUsage.rss(), peak: process.memoryUsage.rss() };
  const status = readFileSync('/proc/self/status', 'utf8');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)![1]) * 1024;
  return { now: field('VmRSS'), peak: field('VmHWM') };
}

function resetPeak(): number {
  globalThis.gc?.();
  if (process.platform === 'linux') writeFileSync('/proc/self/clear_refs', '5');
  return residentBytes().now;
}

async function inMemory(folder: string): Promise<ModelSource> {
  const names = await fs.readdir(folder);
  const files = await Promise.all(
    names.map(async name => [name, new Uint8Array(await fs.readFile(join(folder, name)))] as const),
  );
  return new MemorySource(new Map(files), folder);
}

async function load({ folder, source }: Request): Promise<Omit<Verdict, 'milliseconds' | 'extraBytes' | 'opened'>> {
  let opening: ModelSource | undefined;
  try {
    opening = source === 'folder' ? await openFolderSource(folder) : await inMemory(folder);
    await loadFolder(opening);
    return { error: null, code: null, message: '' };
  } catch (error) {
    const { name, message, code } = error as { name: string; message: string; code?: string };
    return { error: name, code: code ?? null, message: message ?? String(error) };
  } finally {
    await opening?.close();
  }
}

process.on('message', async (request: Request) => {
  opened.length = 0;
  // Collecting garbage takes longer than most loads, and memory is measured for loads from disk alone.
  const before = request.source === 'folder' ? resetPeak() : 0;
  const start = process.cpuUsage();
  const outcome = await load(request);
  const { user, system } = process.cpuUsage(start);
  const milliseconds = (user + system) / 1000;
  process.send!({
    ...outcome,
    milliseconds,
    extraBytes: residentBytes().peak - before,
    opened: [...opened],
  } satisfies Verdict);
});
process.send!('ready');
