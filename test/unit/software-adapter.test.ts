import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { softwareAdapterEnvironment, unpackSoftwareAdapter } from '../../packages/server/src/node/software-adapter.ts';

describe.runIf(process.platform === 'linux' && process.arch === 'x64')('software adapter', () => {
  let cache: string;
  beforeEach(() => {
    cache = mkdtempSync(join(tmpdir(), 'quire-cache-'));
    vi.stubEnv('XDG_CACHE_HOME', cache);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(cache, { recursive: true });
  });

  function unpack() {
    const result = unpackSoftwareAdapter();
    if (result.adapter === null) throw new Error(result.reason);
    return result.adapter;
  }

  test('unpacks loader, driver and a manifest with an absolute path, for this user alone', () => {
    const adapter = unpack();
    expect(statSync(join(cache, 'quire')).mode & 0o777).toBe(0o700);
    expect(readFileSync(adapter.loader).subarray(0, 4).toString('latin1')).toBe('\x7fELF');
    const manifest = JSON.parse(readFileSync(adapter.icdFile, 'utf8'));
    expect(isAbsolute(manifest.ICD.library_path)).toBe(true);
    expect(statSync(manifest.ICD.library_path).size).toBeGreaterThan(1 << 20);
  });

  test('unpacks once, and leaves no staging folder', () => {
    const first = statSync(unpack().loader).ino;
    expect(statSync(unpack().loader).ino).toBe(first);
    expect(readdirSync(join(cache, 'quire'))).toHaveLength(1);
  });

  test('keeps a driver that the environment chooses', () => {
    const adapter = unpack();
    expect(softwareAdapterEnvironment(adapter, { VK_ICD_FILENAMES: '/other.json' }).VK_ICD_FILENAMES).toBe(
      '/other.json',
    );
    expect(softwareAdapterEnvironment(adapter, {}).VK_ICD_FILENAMES).toBe(adapter.icdFile);
    expect(softwareAdapterEnvironment(adapter, { LD_LIBRARY_PATH: '/a' }).LD_LIBRARY_PATH).toBe(
      `${adapter.directory}:/a`,
    );
  });

  test('the adapter of the global setup opens in a child with its environment alone', () => {
    const script = `const { create } = await import('webgpu'); globalThis.gpu = create([]);
      const adapter = await globalThis.gpu.requestAdapter(); console.log(adapter?.info.vendor); process.exit(0);`;
    const env = { ...softwareAdapterEnvironment(unpack(), {}), PATH: process.env.PATH };
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { env, cwd: process.cwd() });
    expect(output.toString().trim()).toBe('google');
  });
});
