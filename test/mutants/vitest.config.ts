import { defineConfig } from 'vitest/config';
import { mutants } from './mutants.mjs';

const mutant = mutants[Number(process.env.QUIRE_MUTANT ?? -1)];

/** Seeds one bug into a source on its way to the tests; the file stays as it is. */
const seed = {
  name: 'seed-a-bug',
  enforce: 'pre' as const,
  transform(code: string, id: string): string | null {
    if (mutant === undefined || !id.split('?')[0]!.endsWith(mutant.file)) return null;
    if (code.split(mutant.find).length !== 2) throw new Error(`Mutant "${mutant.name}" fits ${mutant.file} not once.`);
    return code.replace(mutant.find, () => mutant.replace);
  },
};

const conditions = ['quire-source', 'node', 'import', 'default'];

export default defineConfig({
  plugins: [seed],
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/unit/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    bail: 1,
    testTimeout: 60_000,
    globalSetup: ['test/support/global-setup.ts'],
  },
});
