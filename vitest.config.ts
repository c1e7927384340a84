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
      hookTimeout: 60_000,
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
      project('unit', ['test/unit/**/*.test.ts', 'test/faults/**/*.test.ts'], 30_000),
      project('conformance', ['test/conformance/*.test.ts'], 600_000),
      project('e2e', ['test/e2e/**/*.test.ts'], 240_000),
      project('server', ['test/server/**/*.test.ts'], 60_000),
      project('cuda-emu', ['test/cuda-emu/**/*.test.ts'], 600_000),
      project('browser', ['test/browser/**/*.test.ts'], 120_000, ['test/browser/unpack-chromium.ts']),
    ],
  },
});
