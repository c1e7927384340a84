import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

/** The same page over the engine of a server, which serves it from beside its own compiled files. */
export default defineConfig({
  root: fileURLToPath(new URL('dashboard', import.meta.url)),
  base: './',
  publicDir: false,
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    outDir: fileURLToPath(new URL('../server/dist/page', import.meta.url)),
    emptyOutDir: true,
    // The server's policy lets no data: scripts through.
    assetsInlineLimit: 0,
  },
});
