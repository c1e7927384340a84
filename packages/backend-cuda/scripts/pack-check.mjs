/**
 * npm run pack:check: packs @quire/core, @quire/backend-cuda and the platform's package, installs them into an empty folder and
 * opens devices from there. The emulated device must compute; CUDA must open, or say in a sentence why it is not usable. The
 * platform's package has the CUDA flavour where it was built (npm run build:cuda).
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { builtFlavours, makePlatformPackage } from './platform-package.mjs';
import { packageFolder } from './sources.mjs';

/** Runs in the empty folder. */
const trial = `
import { createRequire } from 'node:module';
import { AddonUnavailableError, openCudaDevice, openCudaEmuDevice } from '@quire/backend-cuda';

const device = await openCudaEmuDevice();
const tensor = device.createTensor({ name: 'x', dtype: 'f32', shape: [4], usage: 'weight' });
device.write(tensor, new Float32Array([1, 2, 3, 4]));
const back = new Float32Array(4);
await device.read(tensor, 0, back);
await device.dispose();
if (back.join() !== '1,2,3,4') throw new Error('read ' + back);
console.log('emulated device: wrote and read a tensor');

const openedFrom = Object.keys(createRequire(import.meta.url).cache).concat(process.report.getReport().sharedObjects);
const addon = openedFrom.find(path => path.endsWith('quire_cuda.node'));
if (!addon?.includes('node_modules/@quire/backend-cuda-')) throw new Error('the addon was loaded from ' + addon);

try {
  await (await openCudaDevice()).dispose();
  console.log('CUDA device: opened');
} catch (error) {
  const isMissing = error instanceof AddonUnavailableError;
  if (isMissing && process.argv[2] === 'with-cuda') throw error;
  console.log('CUDA device: ' + error.message);
}
`;

const folder = mkdtempSync(join(tmpdir(), 'quire-pack-'));
try {
  const flavours = builtFlavours();
  const root = resolve(packageFolder, '..', '..');
  const sources = [join(root, 'packages/core'), packageFolder, makePlatformPackage(flavours)];
  const tarballs = sources.map(source => pack(source));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'trial', private: true, type: 'module' }));
  // Without the npm settings of the workspace that runs this script.
  npm(['install', '--ignore-scripts', '--no-audit', '--no-fund', ...tarballs]);
  writeFileSync(join(folder, 'trial.js'), trial);
  const withCuda = flavours.includes('cuda') ? 'with-cuda' : 'without-cuda';
  execFileSync(process.execPath, ['trial.js', withCuda], { cwd: folder, stdio: 'inherit' });
  console.log(`Installed and loaded: ${tarballs.join(', ')} (flavours ${flavours.join(' and ')}).`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** @returns the tarball's name in the empty folder */
function pack(source) {
  const { name, scripts = {} } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  const installing = ['preinstall', 'install', 'postinstall', 'prepare'].filter(script => script in scripts);
  if (installing.length > 0)
    throw new Error(`${name} has the script ${installing[0]}; packages run nothing when installed.`);
  const [packed] = JSON.parse(npm(['pack', source, '--json', '--ignore-scripts']));
  const files = packed.files.map(({ path }) => path);
  const stray = files.filter(path => /\.(ts|mts|cu|cc|h)$/.test(path) && !path.endsWith('.d.ts'));
  if (stray.length > 0)
    throw new Error(`${name} packs sources, such as ${stray[0]}: its "files" should name what is built.`);
  console.log(`${packed.filename}: ${files.length} files, ${(packed.size / 2 ** 20).toFixed(2)} MiB`);
  return `./${packed.filename}`;
}

function npm(args) {
  return execFileSync('npm', args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}
