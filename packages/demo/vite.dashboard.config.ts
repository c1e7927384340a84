import { fileURLToPath } from 'node:url';
import { defineConfig, mergeConfig } from 'vite';
import page from './vite.config.ts';

/** The same page over the engine of a server, which serves it from beside its own compiled files. */
export default mergeConfig(
  page,
  defineConfig({
    root: fileURLToPath(new URL('.', import.meta.url)),
    publicDir: false,
    plugins: [
      {
        name: 'engine-of-a-server',
        transformIndexHtml: { order: 'pre', handler: html => html.replace('src/main.tsx', 'src/dashboard.tsx') },
      },
    ],
    build: {
      outDir: fileURLToPath(new URL('../server/dist/page', import.meta.url)),
      emptyOutDir: true,
      // The server's policy lets no data: scripts through.
      assetsInlineLimit: 0,
    },
  }),
);
