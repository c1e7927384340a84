import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { privateCacheFolder } from '../../packages/server/dist/node/cache-folder.js';

const peers = { 'onnxruntime-node': '1.30.0', 'node-llama-cpp': '3.22.1' };

/** The folder in which the engines to compare with are installed: in the user's cache, once per list of versions. */
export async function installPeers() {
  const name = Object.values(peers).join('-');
  const folder = join(privateCacheFolder(), `bench-webgpu-${name}`);
  const done = join(folder, 'installed');
  if (existsSync(done)) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  const wanted = Object.entries(peers).map(([peer, version]) => `${peer}@${version}`);
  // Their scripts would download other builds; what is needed lies in the packages.
  await output('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...wanted], { cwd: folder });
  writeFileSync(done, '');
  return folder;
}

/** What a command prints. Rejects with the last line of its errors when it fails. */
export function output(command, args, options = {}) {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  let [text, errors] = ['', ''];
  child.stdout.on('data', chunk => (text += chunk));
  child.stderr.on('data', chunk => (errors += chunk));
  return new Promise((fulfil, reject) => {
    child.on('error', reject);
    child.on('close', code => {
      if (code === 0) return fulfil(text);
      const reason =
        errors
          .split('\n')
          .filter(line => /error/i.test(line))
          .at(0) ?? `ended with ${code}`;
      reject(new Error(reason.trim()));
    });
  });
}
