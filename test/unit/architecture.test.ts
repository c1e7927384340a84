/** The rules of the house: who may import whom, where the platform may be named, one stem per op, sizes. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { opNames, opStem } from '@quire/core/program';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const MAX_LINES = 500;

interface Source {
  /** Relative to the root. */
  path: string;
  text: string;
  /** Without comments. */
  code: string;
  imports: string[];
}

function filesUnder(folder: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap(entry => {
    if (['node_modules', 'dist', 'build', 'fixtures'].includes(entry.name)) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesUnder(path) : [path];
  });
}

function load(path: string): Source {
  const text = readFileSync(join(root, path), 'utf8');
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`])\/\/.*$/gm, '$1');
  const imports = [...code.matchAll(/\b(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g)].map(match => match[1]!);
  return { path, text, code, imports };
}

const typescript = (folder: string) =>
  filesUnder(folder)
    .filter(path => /\.m?tsx?$/.test(path))
    .map(load);
const packages = readdirSync(join(root, 'packages'));
const shipped = [
  ...packages.flatMap(name => typescript(`packages/${name}/src`)),
  ...typescript('test/conformance/src'),
];
const tests = typescript('test').filter(({ path }) => !path.startsWith('test/conformance/src/'));

/** The file that a relative import names. */
function target(source: Source, specifier: string): string | undefined {
  return specifier.startsWith('.') ? relative(root, resolve(root, dirname(source.path), specifier)) : undefined;
}

function violations(sources: readonly Source[], allowed: (specifier: string, source: Source) => boolean): string[] {
  return sources.flatMap(source =>
    source.imports
      .filter(specifier => !allowed(specifier, source))
      .map(specifier => `${source.path} imports ${specifier}`),
  );
}

const leaves = ['contract', 'errors.ts', 'names.ts'];
/** What each room of core may import, besides itself. */
const below: Readonly<Record<string, readonly string[]>> = {
  contract: [],
  'errors.ts': [],
  'names.ts': [],
  program: leaves,
  device: ['contract', 'program'],
  weights: leaves,
  tokenizer: [...leaves, 'weights'],
  'structured-output': [...leaves, 'tokenizer'],
  models: [...leaves, 'program', 'weights'],
  sampling: [...leaves, 'program', 'models', 'structured-output'],
  worker: [...leaves, 'program', 'models', 'sampling', 'weights', 'tokenizer'],
  engine: [...leaves, 'program', 'models', 'sampling', 'structured-output', 'weights', 'tokenizer', 'worker'],
  llm: [...leaves, 'program', 'models', 'sampling', 'structured-output', 'weights', 'tokenizer', 'worker', 'engine'],
};
/** Entries for users; nothing in core imports them. */
const entries = ['index.ts', 'testing.ts'];
const coreDependencies = ['@huggingface/jinja', '@huggingface/tokenizers', '@mlc-ai/web-xgrammar'];
/** Globals of Node or of pages. */
const nodeOrPage =
  /(?<![.\w'"])(process\.|Buffer[.(]|NodeJS\.|createRequire|__dirname|window\.|document\.|navigator\.|localStorage|Deno\.)/;
const contractOnly = ['@quire/core/contract', '@quire/core/program'];

describe('layers', () => {
  test('rooms of core import downwards', () => {
    const core = shipped.filter(({ path }) => path.startsWith('packages/core/'));
    const roomOf = (path: string) => path.split('/')[3]!;
    const upward = violations(core, (specifier, source) => {
      const file = target(source, specifier);
      if (file === undefined) return coreDependencies.includes(specifier);
      if (!file.startsWith('packages/core/src/')) return false;
      const [from, to] = [roomOf(source.path), roomOf(file)];
      if (from === to) return true;
      return entries.includes(from) ? !entries.includes(to) : (below[from]?.includes(to) ?? false);
    });
    expect(core.length).toBeGreaterThan(100);
    expect(upward).toEqual([]);
  });

  test('backends know the contract and programs alone', () => {
    const backends = shipped.filter(({ path }) => path.startsWith('packages/backend-'));
    const outside = violations(backends, (specifier, { path }) => {
      if (specifier.startsWith('node:')) return path.startsWith('packages/backend-cuda/') || isNodeFile(path);
      return specifier.startsWith('.') || specifier === 'webgpu' || contractOnly.includes(specifier);
    });
    expect(outside).toEqual([]);
  });

  test('the conformance suite runs anywhere', () => {
    const suite = shipped.filter(({ path }) => path.startsWith('test/conformance/'));
    expect(violations(suite, specifier => specifier.startsWith('.') || contractOnly.includes(specifier))).toEqual([]);
  });

  test('one file of the server names the backends', () => {
    const server = shipped.filter(({ path }) => path.startsWith('packages/server/'));
    const naming = server.filter(({ imports }) => imports.some(specifier => specifier.startsWith('@quire/backend-')));
    expect(naming.map(({ path }) => path)).toEqual(['packages/server/src/node/open-device.ts']);
    expect(naming[0]!.code).not.toMatch(/from\s+'@quire\/backend-/);
  });

  test('the HTTP surface runs without Node', () => {
    const rooms = ['anthropic', 'app', 'http', 'openai', 'openapi', 'responses'].map(
      room => `packages/server/src/${room}/`,
    );
    const surface = shipped.filter(({ path }) => rooms.some(room => path.startsWith(room)));
    const outside = violations(surface, (specifier, source) => {
      const file = target(source, specifier);
      if (file === undefined) return ['@quire/core', 'zod/mini'].includes(specifier);
      return rooms.some(room => file.startsWith(room)) || file === 'packages/server/src/version.ts';
    });
    expect(surface.length).toBeGreaterThan(25);
    expect(outside).toEqual([]);
    expect(surface.filter(({ code }) => nodeOrPage.test(code)).map(({ path }) => path)).toEqual([]);
  });

  test('the server opens no connection but to a model hub', () => {
    const server = shipped.filter(({ path }) => path.startsWith('packages/server/src/'));
    const asking = server.filter(({ path, code }) => {
      return !path.startsWith('packages/server/src/bench/') && /(?<![.\w]|async )fetch\(|\brequest\(['"`{]/.test(code);
    });
    expect(asking.map(({ path }) => path)).toEqual(['packages/server/src/hub/hub-client.ts']);
  });

  test('packages import each other by name, and files with their ending', () => {
    const crossing = violations(shipped, (specifier, source) => {
      const file = target(source, specifier);
      if (file === undefined) return true;
      const home = source.path.split('/').slice(0, 2).join('/');
      return file.startsWith(`${home}/`) && existsSync(join(root, file)) && /\.(tsx?|json)$/.test(file);
    });
    expect(crossing).toEqual([]);
  });

  test('no import cycles', () => {
    expect(findCycle(shipped)).toBeUndefined();
  });
});

/** Files of the WebGPU backend for Node alone. */
function isNodeFile(path: string): boolean {
  return path.startsWith('packages/backend-webgpu/src/node') || path.startsWith('packages/server/');
}

function findCycle(sources: readonly Source[]): string | undefined {
  const byPath = new Map(sources.map(source => [source.path, source]));
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): string | undefined => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path].join(' -> ');
    const source = byPath.get(path);
    if (source === undefined || done.has(path)) return undefined;
    for (const specifier of source.imports) {
      const next = target(source, specifier);
      const cycle = next === undefined ? undefined : visit(next, [...trail, path]);
      if (cycle !== undefined) return cycle;
    }
    done.add(path);
    return undefined;
  };
  for (const { path } of sources) {
    const cycle = visit(path, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

describe('the platform', () => {
  const neutral = shipped.filter(({ path }) => !isNodeFile(path) && !/packages\/(backend-cuda|demo)\//.test(path));

  test('node: stands only where Node is', () => {
    expect(violations(neutral, specifier => !specifier.startsWith('node:'))).toEqual([]);
  });

  test('no globals of Node or of pages', () => {
    expect(neutral.filter(({ code }) => nodeOrPage.test(code)).map(({ path }) => path)).toEqual([]);
  });

  test('core names no backend', () => {
    const core = neutral.filter(({ path }) => path.startsWith('packages/core/'));
    const naming = core.filter(({ code }) => /webgpu|wgsl|cuda|vulkan|nvidia/i.test(code));
    expect(naming.map(({ path }) => path)).toEqual([]);
  });
});

describe('operations', () => {
  /** WebGPU says of them that they are unsupported and has no file for them; its table of dtypes says why. */
  const collective: readonly string[] = ['vocabParallelEmbed', 'allReduce', 'allGather', 'send', 'recv', 'broadcast'];
  const computed = opNames
    .filter(op => !collective.includes(op))
    .map(opStem)
    .sort();
  const kebab = opNames.map(op => opStem(op).replaceAll('_', '-')).sort();
  /** Files and folders of a room, without endings, but for those that serve no op; a folder holds the variants of a stem. */
  function stems(folder: string, others: readonly string[]): string[] {
    const names = readdirSync(join(root, folder), { withFileTypes: true });
    return names
      .map(({ name }) => basename(name).split('.')[0]!)
      .filter(name => !others.includes(name))
      .sort();
  }

  test('each has a shader', () => {
    expect(stems('shaders', ['lib', 'device'])).toEqual(computed);
  });

  test('each has a kernel of the reference device', () => {
    const rooms = [
      'lib',
      'device',
      'dtypes',
      'executable',
      'host-tier',
      'index',
      'kernels',
      'macrotask',
      'queue',
      'tensor',
    ];
    expect(stems('packages/core/src/device/reference', rooms)).toEqual(kebab);
  });

  test('each has cases', () => {
    expect(stems('test/conformance/src/cases', ['index'])).toEqual(kebab);
  });

  test.runIf(existsSync(join(root, 'packages/backend-cuda/package.json')))('each has a CUDA kernel', () => {
    expect(
      stems('packages/backend-cuda/kernels', [
        'lib',
        'ops',
        'kernels',
        'collectives',
        'transfer',
        'persistent',
        'report',
        'budgets',
      ]),
    ).toEqual(opNames.map(opStem).sort());
  });
});

describe('files', () => {
  const all = [...shipped, ...tests];

  test(`have at most ${MAX_LINES} lines`, () => {
    const shaders = filesUnder('shaders').map(load);
    const long = [...all, ...shaders].filter(
      ({ path, text }) => !path.endsWith('.gen.ts') && text.trimEnd().split('\n').length > MAX_LINES,
    );
    expect(long.map(({ path }) => path)).toEqual([]);
  });

  test('have no any and silence no error', () => {
    const loose = /(:\s*any\b|<any\b|\bas any\b|\bany\[\]|@ts-(?:ignore|expect-error|nocheck))/;
    const self = relative(root, import.meta.filename);
    expect(
      all
        .filter(({ path, code, text }) => path !== self && (loose.test(code) || /@ts-/.test(text)))
        .map(({ path }) => path),
    ).toEqual([]);
  });

  test('have kebab-case names', () => {
    const names = all
      .map(({ path }) => basename(path))
      .filter(name => !/^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z]+)+$/.test(name));
    expect(names).toEqual([]);
  });
});
