import { defineConfig } from 'vite';

/** The page stands for itself: every path is relative, so that it can be served from any folder. */
export default defineConfig({
  base: './',
  publicDir: '../../models',
  resolve: { conditions: ['quire-source', 'browser', 'import', 'default'] },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  worker: { format: 'es' },
  build: { target: 'es2022' },
});
