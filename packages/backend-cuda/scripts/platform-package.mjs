/**
 * Makes the package of this platform out of what was built: build/package, ready for `npm pack` or `npm publish`. It holds the
 * addon and nothing else; @quire/backend-cuda finds it where there is no local build. No script runs when it is installed.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolder } from './sources.mjs';

const flavours = ['cuda', 'emu'];
const builtAddon = flavour => join(packageFolder, 'build', flavour, 'Release', 'quire_cuda.node');

/** Flavours that this machine has built. */
export function builtFlavours() {
  return flavours.filter(flavour => existsSync(builtAddon(flavour)));
}

/** The folder of the package, with these flavours. */
export function makePlatformPackage(included) {
  const folder = join(packageFolder, 'build', 'package');
  rmSync(folder, { recursive: true, force: true });
  for (const flavour of included) {
    mkdirSync(join(folder, flavour), { recursive: true });
    copyFileSync(builtAddon(flavour), join(folder, flavour, 'quire_cuda.node'));
  }
  copyFileSync(join(packageFolder, '..', '..', 'LICENSE'), join(folder, 'LICENSE'));
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest(included), null, 2)}\n`);
  return folder;
}

function manifest(included) {
  const { name, version, license } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));
  const { platform, arch } = process;
  return {
    name: `${name}-${platform}-${arch}`,
    version,
    description: `The addon of ${name}, built for ${platform} on ${arch}.`,
    license,
    os: [platform],
    cpu: [arch],
    ...(platform === 'linux' && { libc: ['glibc'] }),
    files: included,
  };
}

if (import.meta.filename === process.argv[1]) {
  const missing = flavours.filter(flavour => !builtFlavours().includes(flavour));
  if (missing.length > 0) {
    console.error(
      `Not built: ${missing.join(', ')}. A package holds both flavours: run npm run pack:platform where nvcc is.`,
    );
    process.exit(1);
  }
  console.log(makePlatformPackage(flavours));
}
