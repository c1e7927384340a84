/** The Chromium of the browser tests, for scripts: Node 20 reads no TypeScript, so Vite loads its launcher. */
import { fileURLToPath } from 'node:url';
import { createServer } from 'vite';

/** `close` ends the browser and what loaded it. */
export async function openChromium() {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const loader = await createServer({
    root,
    configFile: false,
    appType: 'custom',
    server: { middlewareMode: true, ws: false, watch: null },
    logLevel: 'error',
    optimizeDeps: { noDiscovery: true },
  });
  const { launchChromium } = await loader.ssrLoadModule('/test/browser/chromium.ts');
  const browser = await launchChromium();
  const close = async () => {
    await browser.close();
    await loader.close();
  };
  return { browser, close };
}
