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
/** Names of files, what the address says, and when there is something to see. */
const pictures = [
  ['demo-prefix', wide, 'light', 'scenario=prefix', pool => Number(pool.shared) >= 8 && Number(pool.used) >= 20],
  ['demo-burst-dark', wide, 'dark', 'scenario=burst&blocks=128', pool => Number(pool.used) >= 40],
  ['demo-narrow', narrow, 'light', 'scenario=fork', pool => Number(pool.shared) >= 5 && Number(pool.used) >= 14],
  ['demo-narrow-dark', narrow, 'dark', 'scenario=pressure', pool => Number(pool.used) >= 50],
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
  for (const [name, viewport, colorScheme, address, isThere] of pictures) {
    if (names.length > 0 && !names.includes(name)) continue;
    const page = await browser.newPage({ viewport, colorScheme, locale: 'en-US' });
    page.setDefaultTimeout(120_000);
    await page.goto(`${server.resolvedUrls.local[0]}#device=reference&${address}`);
    const pool = page.getByTestId('pool');
    const deadline = Date.now() + 120_000;
    while (!isThere(await pool.evaluate(({ dataset }) => ({ ...dataset })))) {
      if (Date.now() > deadline) throw new Error(`${name}: what it should show did not come in two minutes.`);
      await page.waitForTimeout(50);
    }
    await page.screenshot({ path: join(folder, `${name}.png`) });
    process.stdout.write(`${name}\n`);
    await page.close();
  }
} finally {
  await close();
  await server.close();
  rmSync(outDir, { recursive: true, force: true });
}
