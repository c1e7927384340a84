/**
 * Compilations that are repeated only when their content changes. They lie in the user's cache folder, by a hash of what they
 * are made of: so all checkouts and branches share them.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { closure, packageFolder } from './sources.mjs';

const root = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'quire', 'objects');
/** Results that are kept of a source: of several compilers and branches. */
const KEPT = 24;

/**
 * The folder of what `make` once made for this source, these headers and this command.
 * @param command what else decides the result: compiler, version, flags
 * @param includeFolders where headers of the package are looked for, from the package's folder
 * @param make fills the empty folder that it is given; its files must not name that folder
 */
export async function compileOnce({ source, command, includeFolders, make }) {
  const hash = createHash('sha256').update(command.join('\n'));
  for (const file of closure(source, includeFolders)) hash.update(readFileSync(file));
  const parent = join(root, source);
  const folder = join(parent, hash.digest('hex').slice(0, 32));
  const now = new Date();
  if (existsSync(folder)) {
    utimesSync(folder, now, now);
    return folder;
  }
  const unfinished = `${folder}.${process.pid}`;
  mkdirSync(unfinished, { recursive: true });
  await make(unfinished);
  // Another process may have made the same meanwhile.
  if (existsSync(folder)) rmSync(unfinished, { recursive: true });
  else renameSync(unfinished, folder);
  dropOldest(parent);
  return folder;
}

function dropOldest(parent) {
  const used = name => statSync(join(parent, name)).mtimeMs;
  const newestFirst = readdirSync(parent).sort((a, b) => used(b) - used(a));
  for (const name of newestFirst.slice(KEPT)) rmSync(join(parent, name), { recursive: true, force: true });
}

/** What the program prints: [stdout, stderr]. It runs in the package's folder. @throws Error when it fails. */
export function run(program, args) {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { cwd: packageFolder, stdio: ['ignore', 'pipe', 'pipe'] });
    const printed = ['', ''];
    [child.stdout, child.stderr].forEach((stream, i) => {
      stream.setEncoding('utf8').on('data', text => {
        printed[i] += text;
      });
    });
    child.on('error', fail);
    child.on('close', status => {
      if (status === 0) return done(printed);
      fail(new Error(`${program} failed on ${args.at(-1)}:\n${printed.join('').slice(0, 4000)}`));
    });
  });
}
