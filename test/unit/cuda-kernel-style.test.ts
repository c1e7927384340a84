/**
 * The rules of docs/cuda-kernels.md that can be read off the text of a kernel. Each names what it found, and is shown a kernel that
 * breaks it; what only shows when a kernel runs, the emulator reports.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { describe, expect, it, test } from 'vitest';

const folder = resolve(import.meta.dirname, '../../packages/backend-cuda/kernels');
/** Where wrappers have their inside. */
const WRAPPERS: readonly string[] = [
  'lib/gpu.h',
  'lib/pairs.h',
  'lib/peers.h',
  'lib/code_pairs.h',
  'lib/crew.h',
  'lib/lane.h',
  'lib/cooperative.h',
  'lib/cluster.h',
  'lib/wgmma.h',
];

interface Rule {
  readonly name: string;
  /** What breaks the rule in a source without comments. */
  readonly find: (code: string) => string[];
  /** Breaks it once. */
  readonly example: string;
}

/** All matches of a pattern are breaches. */
const never = (pattern: RegExp) => (code: string) => [...code.matchAll(pattern)].map(match => match[0]);

const rules: readonly Rule[] = [
  {
    name: 'kernels are launched through gpuLaunch',
    find: never(/<<<|\bcu(?:da)?Launch\w*\s*\(/g),
    example: 'kernel<<<grid, block>>>(x);',
  },
  {
    name: 'shared memory is declared with SHARED and DYN_SHARED',
    find: never(/\b__shared__\b/g),
    example: '__shared__ float row[32];',
  },
  {
    name: 'inline assembly lies in the wrappers beside gpu.h',
    find: never(/\b(?:asm|__asm__)\b/g),
    example: 'asm volatile("bar.sync 0;");',
  },
  {
    name: 'every exchange within a warp names its mask',
    find: never(/\b__(?:activemask|shfl\w*(?<!_sync)|ballot|any|all)\s*\(/g),
    example: 'float y = __shfl_down(x, 1);',
  },
  {
    name: 'masks are the constants that all lanes agree on',
    find: code =>
      [...code.matchAll(/\b__\w+_sync\s*\(\s*([^,]+),/g)]
        .filter(([, mask]) => !/^k\w*Mask$/.test(mask!.trim()))
        .map(match => match[0]),
    example: 'float y = __shfl_xor_sync(__ballot_sync(kFullMask, x > 0), x, 1);',
  },
  {
    name: 'data crosses blocks through arriveLast and gridBarrier, which carry the fences',
    find: never(/\b(?:__threadfence\w*|__nanosleep|volatile|__ld(?:cg|cv|ca)|cooperative_groups)\b/g),
    example: 'part[blockIdx.x] = x; __threadfence(); atomicAdd(arrived, 1u);',
  },
  {
    name: 'one source for GPU and emulator',
    find: never(/\b(?:EMU|__CUDA_ARCH__|__CUDACC__)\b|\bemu::/g),
    example: '#if defined(EMU)',
  },
  {
    name: 'CUDA headers come through gpu.h',
    find: never(
      /#include\s*[<"](?!cuda_runtime\.h")(?:cuda|cub|cooperative|mma|thrust|nv)[\w/]*(?:\.h|\.cuh|\.hpp)?[>"]/g,
    ),
    example: '#include <cuda_fp16.h>',
  },
  {
    name: 'every kernel waits for the one in front of it, and leaves only then',
    find: code => kernelsOf(code).flatMap(({ name, body }) => breachesOfWait(name, body)),
    example: '__global__ void sum(const float* x, int n) { if (threadIdx.x >= n) return; waitForPrevious(); }',
  },
];

/** Names and bodies of the __global__ functions. */
function kernelsOf(code: string): { name: string; body: string }[] {
  return [...code.matchAll(/__global__[^;{]*?\b(\w+)\s*\((?:[^(){}]|\([^()]*\))*\)\s*\{/g)].map(match => {
    const start = match.index + match[0].length;
    let depth = 1;
    let end = start;
    for (; depth > 0 && end < code.length; end++) depth += code[end] === '{' ? 1 : code[end] === '}' ? -1 : 0;
    return { name: match[1]!, body: code.slice(start, end) };
  });
}

/**
 * A block that ends without the wait may end before the kernel in front, and then the kernel behind no longer waits for that one.
 */
function breachesOfWait(name: string, body: string): string[] {
  const wait = body.indexOf('waitForPrevious()');
  if (wait < 0) return [`${name} has no waitForPrevious()`];
  return /\breturn\s*;/.test(body.slice(0, wait)) ? [`${name} returns before waitForPrevious()`] : [];
}

const withoutComments = (text: string) => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, '');

const sources = (readdirSync(folder, { recursive: true }) as string[])
  .filter(path => /\.(?:cu|h)$/.test(path) && !path.split('/').includes('test') && !WRAPPERS.includes(path))
  .map(path => ({ path, code: withoutComments(readFileSync(join(folder, path), 'utf8')) }));

describe.each(rules)('$name', ({ find, example }) => {
  it('finds a breach', () => {
    expect(find(example).length).toBe(1);
  });

  it('holds in every kernel', () => {
    expect(sources.flatMap(({ path, code }) => find(code).map(found => `${path}: ${found}`))).toEqual([]);
  });
});

test('every source with a kernel was read', () => {
  const withKernels = sources.filter(({ code }) => kernelsOf(code).length > 0).map(({ path }) => basename(path));
  const mentions = sources.reduce((sum, { code }) => sum + code.split('__global__').length - 1, 0);
  expect(sources.reduce((sum, { code }) => sum + kernelsOf(code).length, 0)).toBe(mentions);
  expect(withKernels).toContain('rms_norm.cu');
  expect(mentions).toBeGreaterThan(25);
});

describe('code of the host', () => {
  const addon = resolve(folder, '../addon');
  /** Headers of a file and theirs, of this package. */
  function includesOf(path: string, seen = new Set<string>()): Set<string> {
    for (const [, name] of readFileSync(path, 'utf8').matchAll(/^#include "(.+)"$/gm)) {
      const header = resolve(path, '..', name!);
      if (!existsSync(header) || seen.has(header)) continue;
      seen.add(header);
      includesOf(header, seen);
    }
    return seen;
  }
  // Only nvcc compiles these; the emulator's compiler takes them everywhere.
  const deviceHeader = join(folder, 'lib/gpu.h');

  it('includes no code of the device', () => {
    expect(includesOf(join(folder, 'all_reduce.cu'))).toContain(deviceHeader);
    const files = readdirSync(addon).filter(name => name.endsWith('.cc'));
    expect(files.length).toBeGreaterThan(10);
    for (const file of files) expect([...includesOf(join(addon, file))], file).not.toContain(deviceHeader);
  });
});
