/**
 * Builds the emulated flavour of the addon with g++ alone: no CUDA toolkit, no cmake.
 *
 *   node build-emu.mjs [--sanitize] [--out FOLDER]
 *
 * Compiles what changed since the last run (sources, the headers that they included, or the command), two files at a time,
 * and puts quire_cuda.node into build/emu/Release, or build/emu-asan/Release with --sanitize. CXX names another compiler.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { inParallel } from './in-parallel.mjs';
import { listSources, packageFolder } from './sources.mjs';

const { values: options } = parseArgs({ options: { sanitize: { type: 'boolean' }, out: { type: 'string' } } });
const compiler = process.env.CXX || 'g++';
const out = resolve(options.out ?? join(packageFolder, 'build', options.sanitize ? 'emu-asan' : 'emu'));
const require = createRequire(import.meta.url);
const sanitizers = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
const compileFlags = [
  ...(options.sanitize ? ['-O1', '-g', ...sanitizers] : ['-O2']),
  ...[
    '-std=c++17',
    '-fPIC',
    '-fvisibility=hidden',
    '-Wall',
    '-Wextra',
    '-Wno-unknown-pragmas',
    '-Wno-unused-parameter',
  ],
  ...[
    '-DNAPI_VERSION=9',
    '-DNAPI_CPP_EXCEPTIONS',
    '-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
    '-DBUILDING_NODE_EXTENSION',
  ],
  ...['emu/include', 'emu', '.'].map(folder => `-I${folder}`),
  ...[require('node-api-headers').include_dir, require('node-addon-api').include_dir].map(
    folder => `-isystem${resolve(folder)}`,
  ),
];
const linkFlags = [
  '-shared',
  '-pthread',
  '-ldl',
  ...(options.sanitize ? sanitizers : ['-s', '-Wl,--exclude-libs,ALL']),
];

const sources = [
  ...['addon', 'libraries', 'emu/src'].flatMap(folder => listSources(folder, '.cc')),
  ...listSources('kernels', '.cu'),
];
const objectOf = source => join(out, 'objects', `${source}.o`);

await build().catch(error => {
  console.error(error.message);
  process.exitCode = 1;
});

async function build() {
  const stamp = join(out, 'command');
  const command = createHash('sha256')
    .update([compiler, ...compileFlags].join('\n'))
    .digest('hex');
  const sameCommand = existsSync(stamp) && readFileSync(stamp, 'utf8') === command;
  const stale = sources.filter(source => !sameCommand || isStale(objectOf(source), dependenciesOf(source)));
  mkdirSync(out, { recursive: true });
  // Written when everything is compiled: an interrupted build with another command starts over.
  if (!sameCommand) rmSync(stamp, { force: true });
  const started = Date.now();
  await inParallel(stale, compile);
  writeFileSync(stamp, command);
  const addon = join(out, 'Release', 'quire_cuda.node');
  const list = sources.join('\n');
  const listFile = join(out, 'linked');
  const sameList = existsSync(listFile) && readFileSync(listFile, 'utf8') === list;
  if (stale.length === 0 && sameList && existsSync(addon)) return;
  await link(addon);
  writeFileSync(listFile, list);
  console.log(
    `${addon}: compiled ${stale.length} of ${sources.length} files in ${((Date.now() - started) / 1000).toFixed(1)} s.`,
  );
}

/** The source itself and what it included when it was last compiled; null when it never was. */
function dependenciesOf(source) {
  const file = `${objectOf(source)}.d`;
  if (!existsSync(file)) return null;
  const [, list] = readFileSync(file, 'utf8').replaceAll('\\\n', ' ').split(/:\s/, 2);
  return list
    .split(/(?<!\\)\s+/)
    .filter(Boolean)
    .map(path => resolve(packageFolder, path.replaceAll('\\ ', ' ')));
}

function isStale(file, dependencies) {
  if (dependencies === null || !existsSync(file)) return true;
  const made = statSync(file).mtimeMs;
  return dependencies.some(path => !existsSync(path) || statSync(path).mtimeMs > made);
}

async function compile(source) {
  const object = objectOf(source);
  mkdirSync(dirname(object), { recursive: true });
  const temporary = `${object}.${process.pid}`;
  const started = new Date();
  const language = source.endsWith('.cu') ? ['-x', 'c++'] : [];
  await run([...compileFlags, '-MMD', '-MF', `${temporary}.d`, ...language, '-c', source, '-o', temporary]);
  renameSync(`${temporary}.d`, `${object}.d`);
  // Older than a source that is saved while it compiles.
  utimesSync(temporary, started, started);
  renameSync(temporary, object);
}

/** A process that has the old addon loaded keeps it: the new one takes its name when it is complete. */
async function link(addon) {
  mkdirSync(dirname(addon), { recursive: true });
  const temporary = `${addon}.${process.pid}`;
  await run([...sources.map(objectOf), ...linkFlags, '-o', temporary]);
  renameSync(temporary, addon);
}

function run(args) {
  return new Promise((done, fail) => {
    const child = spawn(compiler, args, { cwd: packageFolder, stdio: 'inherit' });
    child.on('error', error => {
      fail(
        error.code === 'ENOENT'
          ? new Error(`${compiler} was not found: install a C++17 compiler (on Debian: apt-get install g++)`)
          : error,
      );
    });
    child.on('exit', code => (code === 0 ? done() : fail(new Error(`${compiler} failed on ${args.at(-3)}`))));
  });
}
