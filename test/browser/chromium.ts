import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';

/** Where other platforms keep a Chromium-like browser. QUIRE_CHROMIUM names another. */
const installed: Partial<Record<NodeJS.Platform, string>> = {
  darwin: '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  win32: 'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
};

/**
 * A headless Chromium with WebGPU. On Linux x64 the one of the development dependency @sparticuz/chromium, on its software
 * adapter; elsewhere the installed Chrome, on the machine's. `more`: further flags.
 */
export async function launchChromium(more: readonly string[] = []): Promise<Browser> {
  const flags = [
    ...more,
    '--enable-unsafe-webgpu',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-sync',
  ];
  const bundled = await unpackBundledChromium();
  if (bundled !== null) {
    return chromium.launch({
      executablePath: bundled,
      args: [...flags, '--no-sandbox', '--use-webgpu-adapter=swiftshader'],
    });
  }
  const executablePath = process.env.QUIRE_CHROMIUM ?? installed[process.platform];
  if (executablePath === undefined || !existsSync(executablePath)) {
    throw new Error('The browser tests need Chrome or Chromium: install one, or name it in QUIRE_CHROMIUM.');
  }
  return chromium.launch({ executablePath, args: flags });
}

/** The path of the development dependency's Chromium, unpacked where it was not; null where another is to be used. */
export async function unpackBundledChromium(): Promise<string | null> {
  if (process.env.QUIRE_CHROMIUM !== undefined || process.platform !== 'linux' || process.arch !== 'x64') return null;
  const { default: bundled } = await import('@sparticuz/chromium');
  return bundled.executablePath();
}
