import { defineConfig } from 'vitest/config';

const shared = {
  resolve: { conditions: ['quire-source', 'node', 'import', 'default'] },
  ssr: { resolve: { conditions: ['quire-source', 'node', 'import', 'default'] } },
};

function project(name: string, include: string[], testTimeout: number, globalSetup: string[] = []) {
  return {
    ...shared,
    test: {
      name,
      include,
      testTimeout,
      hookTimeout: 600_000,
      // A machine may be busy: what is waited for comes late, and what does not come fails all the same.
      expect: { poll: { timeout: 60_000 } },
      teardownTimeout: 5_000,
      environment: 'node' as const,
      // A test that means a model hub brings its own.
      env: { HF_HUB_OFFLINE: '1' },
      globalSetup: ['test/support/global-setup.ts', ...globalSetup],
    },
  };
}

export default defineConfig({
  ...shared,
  test: {
    // Threads abort the whole run when a file ends with GPU work in flight; a fork is killed cleanly.
    pool: 'forks',
    // SwiftShader itself uses all cores.
    maxWorkers: 2,
    projects: [
      project('unit', ['test/unit/**/*.test.ts', 'test/faults/**/*.test.ts'], 300_000),
      project('conformance', ['test/conformance/*.test.ts'], 1_800_000),
      project('e2e', ['test/e2e/**/*.test.ts'], 900_000),
      project('server', ['test/server/**/*.test.ts'], 600_000),
      project('cuda-emu', ['test/cuda-emu/**/*.test.ts'], 1_800_000),
      project('browser', ['test/browser/**/*.test.ts'], 600_000, ['test/browser/unpack-chromium.ts']),
    ],
  },
});
