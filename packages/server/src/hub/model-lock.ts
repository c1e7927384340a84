import { link, mkdir, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const TOUCH_MS = 5_000;
/** A lock that its owner has not touched for this long belongs to nobody: its machine has gone. */
const STALE_MS = 30_000;

/**
 * Runs `work` while no other process that asks for the same file does: a file that exists as long as its owner lives. The owner is
 * looked up on this machine, and known by its touch on another one that shares the folder.
 */
export async function withLock<T>(file: string, work: () => Promise<T>, waitMs = 500): Promise<T> {
  await mkdir(dirname(file), { recursive: true });
  while (!(await take(file))) await sleep(waitMs);
  const timer = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => undefined), TOUCH_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    await rm(file, { force: true });
  }
}

async function take(file: string): Promise<boolean> {
  try {
    const handle = await open(file, 'wx');
    await handle.writeFile(`${process.pid} ${hostname()}`);
    await handle.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const abandoned = await abandonedOwner(file);
  if (abandoned !== null) await remove(file, abandoned);
  return false;
}

/** Takes an abandoned lock away, unless another process has done so meanwhile and owns it: then it gets it back. */
async function remove(file: string, owner: string): Promise<void> {
  const aside = `${file}.${process.pid}`;
  try {
    await rename(file, aside);
    if ((await readFile(aside, 'utf8')) !== owner) await link(aside, file);
  } catch {
    // Another process was faster.
  }
  await rm(aside, { force: true });
}

/** What an abandoned lock says of its owner; null for a lock that is held, or gone. */
async function abandonedOwner(file: string): Promise<string | null> {
  try {
    const owner = await readFile(file, 'utf8');
    const [pid = '', host] = owner.split(' ');
    const isDead = host === hostname() && !isAlive(Number(pid));
    return isDead || Date.now() - (await stat(file)).mtimeMs > STALE_MS ? owner : null;
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
