/**
 * Measures the demo page in Chromium, and Quire beside llama.cpp in the same browser:
 *   npm run bench:demo [-- page|peers [TOKENS]]
 * TOKENS: of each request, 64 if not given. wllama is installed into .cache/peers when it is first needed.
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build, preview } from 'vite';
import { openChromium } from '../chromium.mjs';
import { folderToGguf } from '../gguf/folder-to-gguf.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const WLLAMA = '3.13.0';
const [part = 'all', tokens = '64'] = process.argv.slice(2);
const peers = join(root, '.cache/peers');
const out = mkdtempSync(join(tmpdir(), 'quire-bench-'));
const say = line => process.stdout.write(`${line}\n`);

try {
  say(`${cpus().length} cores of ${cpus()[0].model}, load ${loadavg()[0].toFixed(1)}, Node ${process.version}`);
  if (part !== 'peers') await measurePage();
  if (part !== 'page') await measurePeers();
} finally {
  rmSync(out, { recursive: true, force: true });
}

async function measurePage() {
  const config = {
    root: join(root, 'packages/demo'),
    configFile: join(root, 'packages/demo/vite.config.ts'),
    logLevel: 'error',
  };
  const outDir = join(out, 'page');
  await build({ ...config, build: { outDir, emptyOutDir: true } });
  const [page, worker] = ['index', 'worker'].map(entry => staticBytes(join(outDir, 'assets'), entry) / 1000);
  say(
    `script before lazy parts, gzipped: ${page.toFixed(1)} kB of the page and ${worker.toFixed(1)} kB of its worker (target: under 300 together)`,
  );
  const server = await preview({ ...config, build: { outDir }, preview: { port: 0, host: '127.0.0.1' } });
  const { browser, close } = await openChromium();
  const url = server.resolvedUrls.local[0];
  try {
    say(`Chromium ${browser.version()}`);
    for (let i = 0; i < 3; i++) await measureLoad(browser, url);
    await measureDrawing(browser, url);
  } finally {
    await close();
    await server.close();
  }
}

/** Gzipped bytes of an entry and of all that it imports at once. */
function staticBytes(folder, entry) {
  const wanted = new Set(readdirSync(folder).filter(name => name.startsWith(`${entry}-`) && name.endsWith('.js')));
  let bytes = 0;
  // A set may grow while it is gone through.
  for (const name of wanted) {
    const script = readFileSync(join(folder, name));
    bytes += gzipSync(script).length;
    for (const [, other] of script.toString().matchAll(/(?:from|import)"\.\/([^"]+\.js)"/g)) wanted.add(other);
  }
  return bytes;
}

/** A fresh profile each time: nothing is cached. */
async function measureLoad(browser, url) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${url}#device=reference`, { waitUntil: 'load' });
  await page.getByRole('tab', { name: 'Chat' }).click();
  const ready = await page.locator('.bar').getAttribute('data-status');
  const { load, interactive } = await page.evaluate(() => {
    const [navigation] = performance.getEntriesByType('navigation');
    return { load: navigation.loadEventEnd, interactive: performance.now() };
  });
  await page.locator('.bar[data-status=ready]').waitFor({ timeout: 60_000 });
  const model = await page.evaluate(() => performance.now());
  say(
    `page loaded after ${Math.round(load)} ms (target: 1000), a tab was clicked by ${Math.round(interactive)} ms with the engine "${ready}", the model was there after ${Math.round(model)} ms`,
  );
  await context.close();
}

async function measureDrawing(browser, url) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 860 } });
  await page.addInitScript(() => {
    window.longTasks = [];
    window.shifts = [];
    new PerformanceObserver(list => {
      for (const { duration, startTime } of list.getEntries()) window.longTasks.push([startTime, duration]);
    }).observe({ entryTypes: ['longtask'] });
    new PerformanceObserver(list => {
      for (const { value, startTime } of list.getEntries()) window.shifts.push([startTime, value]);
    }).observe({ entryTypes: ['layout-shift'] });
  });
  await page.goto(`${url}#device=reference&blocks=128&seqs=16`);
  await page.locator('.bar[data-status=ready]').waitFor({ timeout: 60_000 });
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const taskSeconds = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration').value;
  };
  await page.getByLabel('Speed', { exact: true }).first().selectOption('Full');
  await page.getByRole('button', { name: 'Burst' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.card[data-status=decode]').length >= 8, null, {
    timeout: 120_000,
  });
  const before = await taskSeconds();
  const drawn = await page.evaluate(async () => {
    const canvases = ['pool', 'timeline'].map(id => document.querySelector(`[data-testid=${id}]`));
    // Both are drawn in the same frame: what they took is added up until the next one.
    const frames = [];
    let frame = 0;
    const seen = new MutationObserver(() => {
      frame = canvases.reduce((sum, { dataset }) => sum + Number(dataset.drawMilliseconds), 0);
    });
    for (const canvas of canvases) seen.observe(canvas, { attributeFilter: ['data-draw-milliseconds'] });
    const start = performance.now();
    let most = 0;
    while (performance.now() - start < 10_000) {
      await new Promise(requestAnimationFrame);
      if (frame > 0) frames.push(frame);
      frame = 0;
      const running = document.querySelectorAll('.card[data-status=decode], .card[data-status=prefill]').length;
      most = Math.max(most, running);
    }
    const sorted = frames.toSorted((a, b) => a - b);
    const at = share => sorted[Math.floor(share * (sorted.length - 1))];
    return {
      ...{ frames: frames.length, median: at(0.5), p95: at(0.95), max: at(1), most },
      long: window.longTasks.filter(([time]) => time > start).map(([, duration]) => Math.round(duration)),
      shifted: window.shifts.filter(([time]) => time > start).reduce((sum, [, value]) => sum + value, 0),
    };
  });
  const perFrame = (1000 * ((await taskSeconds()) - before)) / drawn.frames;
  say(
    `drawing 128 blocks and up to ${drawn.most} running requests, ${drawn.frames} frames in 10 s: median ${drawn.median.toFixed(2)} ms, p95 ${drawn.p95.toFixed(2)} ms, most ${drawn.max.toFixed(2)} ms (target: 4); whole main thread ${perFrame.toFixed(2)} ms per frame`,
  );
  say(
    `tasks over 50 ms on the main thread meanwhile: ${drawn.long.length === 0 ? 'none' : drawn.long.join(', ')} (target: none)`,
  );
  say(`layout shift meanwhile: ${drawn.shifted.toFixed(4)} (target: none; 0.1 counts as good)`);
  say(`both canvases drawn anew, as after another size: most ${(await mostOfWhole(page)).toFixed(2)} ms`);
  await page.close();
}

/** Milliseconds of the slowest of some frames in which nothing of the canvases could be kept: the colours are others. */
async function mostOfWhole(page) {
  let most = 0;
  for (let i = 0; i < 10; i++) {
    await page.emulateMedia({ colorScheme: i % 2 === 0 ? 'dark' : 'light' });
    const took = await page.evaluate(async () => {
      const canvases = ['pool', 'timeline'].map(id => document.querySelector(`[data-testid=${id}]`));
      let slowest = 0;
      for (let frame = 0; frame < 3; frame++) {
        await new Promise(requestAnimationFrame);
        slowest = Math.max(
          slowest,
          canvases.reduce((sum, { dataset }) => sum + Number(dataset.drawMilliseconds), 0),
        );
      }
      return slowest;
    });
    most = Math.max(most, took);
  }
  return most;
}

async function measurePeers() {
  installWllama();
  const publicDir = join(out, 'public');
  mkdirSync(join(publicDir, 'tiny-llama'), { recursive: true });
  const model = join(root, 'models/tiny-llama');
  for (const file of readdirSync(model)) copyFileSync(join(model, file), join(publicDir, 'tiny-llama', file));
  writeFileSync(join(publicDir, 'tiny-llama.gguf'), folderToGguf(model, 'F16'));
  // Threads of WASM need an isolated page.
  const headers = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' };
  const config = {
    ...{ root: join(root, 'scripts/bench-demo/page'), configFile: false, logLevel: 'error', publicDir },
    worker: { format: 'es' },
    resolve: {
      conditions: ['quire-source', 'browser', 'import', 'default'],
      alias: { '@wllama/wllama': join(peers, 'node_modules/@wllama/wllama') },
    },
  };
  const outDir = join(out, 'peers');
  await build({ ...config, build: { outDir, emptyOutDir: true, target: 'es2022' } });
  const server = await preview({ ...config, build: { outDir }, preview: { port: 0, host: '127.0.0.1', headers } });
  const { browser, close } = await openChromium();
  try {
    const page = await browser.newPage();
    page.on('pageerror', error => say(`page: ${error.message}`));
    await page.goto(server.resolvedUrls.local[0]);
    await page.waitForFunction(() => window.isReady);
    const adapter = await page.evaluate(async () => {
      const { vendor, architecture, description } = (await navigator.gpu.requestAdapter()).info;
      return [vendor, architecture, description].filter(Boolean).join(' ');
    });
    say(`WebGPU adapter: ${adapter}`);
    const prompt = 'Once upon a time';
    say(
      `llama.cpp on the same weights, "${prompt}": ${await page.evaluate(text => window.textOfWllama(text), prompt)}`,
    );
    const task = { counts: [1, 8], maxTokens: Number(tokens) };
    const threads = cpus().length;
    const engines = {
      'wllama, WASM': () => page.evaluate(given => window.benchWllama(given), { ...task, gpu: false, threads }),
      'wllama, WebGPU': () => page.evaluate(given => window.benchWllama(given), { ...task, gpu: true, threads }),
      'Quire, WebGPU': () => page.evaluate(given => window.benchQuire(given), { ...task, device: 'webgpu' }),
      'Quire, reference': () => page.evaluate(given => window.benchQuire(given), { ...task, device: 'reference' }),
    };
    say(`${tokens} tokens per request`);
    say('| engine | 1 request | 8 requests | gain |\n|---|---|---|---|');
    for (const [name, run] of Object.entries(engines)) {
      const result = await run().catch(error => ({ failed: error.message.split('\n')[0] }));
      say(result.failed ? `| ${name} | failed: ${result.failed} | | |` : row(name, result));
    }
  } finally {
    await close();
    await server.close();
  }
}

function row(name, { name: detail, runs }) {
  const [one, eight] = runs.map(({ tokens, seconds }) => tokens / seconds);
  return `| ${name} (${detail}) | ${one.toFixed(1)} tok/s | ${eight.toFixed(1)} tok/s | ${(eight / one).toFixed(2)}x |`;
}

function installWllama() {
  if (existsSync(join(peers, 'node_modules/@wllama/wllama'))) return;
  mkdirSync(peers, { recursive: true });
  writeFileSync(join(peers, 'package.json'), '{"private":true}');
  execFileSync('npm', ['install', '--no-audit', '--no-fund', `@wllama/wllama@${WLLAMA}`], {
    cwd: peers,
    stdio: 'inherit',
  });
}
