/**
 * Takes the pictures of the demo page for docs/images, from the page as it is built now:
 *   node scripts/demo-screenshots.mjs [FOLDER] [NAME...]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, preview } from 'vite';
import { openChromium } from './chromium.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const [folder = join(root, 'docs/images'), ...names] = process.argv.slice(2);
const wide = { width: 1280, height: 860 };
const narrow = { width: 390, height: 844 };
/** Names of files, what the address says, and what the pool must show at least before the engine is paused for the picture. */
const pictures = [
  ['demo-prefix', wide, 'light', 'scenario=prefix', { shared: 8, used: 22 }],
  ['demo-burst-dark', wide, 'dark', 'scenario=burst&blocks=128&seqs=16', { used: 50, cached: 4 }],
  ['demo-narrow', narrow, 'light', 'scenario=fork', { shared: 5, used: 16 }],
  ['demo-narrow-dark', narrow, 'dark', 'scenario=pressure', { used: 50, cached: 1 }],
];

const outDir = mkdtempSync(join(tmpdir(), 'quire-pictures-'));
const config = {
  root: join(root, 'packages/demo'),
  configFile: join(root, 'packages/demo/vite.config.ts'),
  logLevel: 'error',
};
await build({ ...config, build: { outDir, emptyOutDir: true } });
const server = await preview({ ...config, build: { outDir }, preview: { port: 0, host: '127.0.0.1' } });
const { browser, close } = await openChromium();
try {
  for (const [name, viewport, colorScheme, address, least] of pictures) {
    if (names.length > 0 && !names.includes(name)) continue;
    const page = await browser.newPage({ viewport, colorScheme, locale: 'en-US' });
    await page.goto(`${server.resolvedUrls.local[0]}#device=reference&${address}`);
    await page.waitForFunction(pauseOnce, least, { polling: 'raf', timeout: 120_000 });
    // A narrow page is shown whole: what is out of sight is not drawn, and has its height only when it is. The plots draw twice a second.
    if (viewport === narrow) await page.setViewportSize({ ...narrow, height: 4000 });
    await page.waitForTimeout(1000);
    const height = await page.evaluate(() => document.querySelector('main').getBoundingClientRect().bottom + 16);
    if (viewport === narrow) await page.setViewportSize({ ...narrow, height: Math.ceil(height) });
    await page.screenshot({ path: join(folder, `${name}.png`) });
    process.stdout.write(`${name}\n`);
    await page.close();
  }
} finally {
  await close();
  await server.close();
  rmSync(outDir, { recursive: true, force: true });
}

/** In the page: pauses the engine as soon as the pool shows so much. */
function pauseOnce(least) {
  const { dataset } = document.querySelector('[data-testid=pool]');
  if (!Object.entries(least).every(([what, count]) => Number(dataset[what]) >= count)) return false;
  document.querySelector('[aria-label=Pause]').click();
  return true;
}
