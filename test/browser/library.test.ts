/** The page of docs/browser.md, built as it stands there from the compiled packages, with Vite's defaults. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, preview } from 'vite';
import { expect, it } from 'vitest';
import { launchChromium } from './chromium.ts';
import { PATIENCE } from './shown.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));

it('runs the example of the documentation', async () => {
  const text = readFileSync(join(repository, 'docs/browser.md'), 'utf8');
  const example = /```ts\n([\s\S]*?)```/.exec(text)![1]!;
  // Inside the repository, so that the packages are found as they are from any project that has them installed.
  mkdirSync(join(repository, '.cache'), { recursive: true });
  const root = mkdtempSync(join(repository, '.cache/library-'));
  const config = { root, configFile: false as const, logLevel: 'error' as const };
  try {
    writeFileSync(join(root, 'main.ts'), example);
    const icon = '<link rel="icon" href="data:,">';
    writeFileSync(join(root, 'index.html'), `${icon}<body><script type="module" src="./main.ts"></script></body>`);
    symlinkSync(join(repository, 'models'), join(root, 'public'));
    await build(config);
    const server = await preview({ ...config, preview: { port: 0, host: '127.0.0.1' } });
    const browser = await launchChromium();
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', error => errors.push(error.message));
    await page.goto(server.resolvedUrls!.local[0]!);
    const written = () => page.locator('body').textContent();
    await expect.poll(written, { timeout: PATIENCE }).toContain('The day after Friday is Saturday.');
    expect(errors).toEqual([]);
    await browser.close();
    await server.close();
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
