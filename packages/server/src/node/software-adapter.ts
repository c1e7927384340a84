/**
 * A Vulkan driver in software for machines without a GPU: SwiftShader with its loader, as they lie in the development
 * dependency `@sparticuz/chromium` (Linux x64, glibc). Unpacked once per version into the user's cache folder.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { privateCacheFolder } from './cache-folder.ts';

/** Where the driver lies on this machine. Paths are absolute. */
export interface SoftwareAdapter {
  /** Holds the Vulkan loader and the driver. */
  readonly directory: string;
  /** The loader, `libvulkan.so.1`. */
  readonly loader: string;
  /** The manifest that tells the loader about the driver. */
  readonly icdFile: string;
  readonly runtimeDirectory: string;
}

/** Either the adapter, or why there is none, as a sentence that says what to install. */
export type SoftwareAdapterResult = { adapter: SoftwareAdapter } | { adapter: null; reason: string };

const LOADER = 'libvulkan.so.1';
const DRIVER = 'libvk_swiftshader.so';
const MANIFEST = 'vk_swiftshader_icd.json';
/** glibc's flag: the library stays in the process after dlclose. */
const RTLD_NODELETE = 0x1000;
const TAR_BLOCK = 512;

/** Unpacks the driver when it is not there yet. Changes nothing in this process. */
export function unpackSoftwareAdapter(): SoftwareAdapterResult {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return {
      adapter: null,
      reason: `no software adapter is bundled for ${process.platform} ${process.arch}: a GPU with a driver is needed`,
    };
  }
  const archive = findArchive();
  if (archive === null) {
    return {
      adapter: null,
      reason:
        'the package @sparticuz/chromium, which holds the software adapter, is not installed: run npm i -D @sparticuz/chromium@153, or install a Vulkan driver (mesa-vulkan-drivers)',
    };
  }
  const directory = join(privateCacheFolder(), `swiftshader-${archive.version}`);
  if (!existsSync(join(directory, MANIFEST))) unpackInto(directory, archive.file);
  return {
    adapter: {
      directory,
      loader: join(directory, LOADER),
      icdFile: join(directory, MANIFEST),
      runtimeDirectory: join(directory, 'run'),
    },
  };
}

/**
 * The environment for a child process that is to use the adapter. A driver that the environment chooses already
 * (VK_ICD_FILENAMES) is kept; the loader is found in any case.
 */
export function softwareAdapterEnvironment(
  adapter: SoftwareAdapter,
  env: NodeJS.ProcessEnv = process.env,
): Record<string, string> {
  return {
    VK_ICD_FILENAMES: env.VK_ICD_FILENAMES || adapter.icdFile,
    LD_LIBRARY_PATH: [adapter.directory, env.LD_LIBRARY_PATH].filter(Boolean).join(':'),
    XDG_RUNTIME_DIR: env.XDG_RUNTIME_DIR || adapter.runtimeDirectory,
  };
}

/**
 * Makes the adapter available to this process and to its later children, before or after Dawn is loaded (a `GPU` object
 * made earlier does not see it: create another). LD_LIBRARY_PATH is read only when a process starts, so the loader is
 * opened here, and kept: dlopen then finds it by its name. Main thread only: workers have a copy of the environment.
 */
export function installSoftwareAdapter(): SoftwareAdapterResult {
  const result = unpackSoftwareAdapter();
  if (result.adapter === null) return result;
  Object.assign(process.env, softwareAdapterEnvironment(result.adapter));
  if (!hasVulkanLoader()) openLibrary(result.adapter.loader, constants.dlopen.RTLD_NOW | RTLD_NODELETE);
  return result;
}

/** Whether this process finds a Vulkan loader. On Linux there is no adapter without one. */
export function hasVulkanLoader(): boolean {
  return openLibrary(LOADER, constants.dlopen.RTLD_NOW);
}

/** Node refuses a library that is no addon after the system has opened it; other messages mean that it was not opened. */
function openLibrary(file: string, flags: number): boolean {
  try {
    process.dlopen({ exports: {} }, file, flags);
    return true;
  } catch (error) {
    return error instanceof Error && error.message.includes('did not self-register');
  }
}

function findArchive(): { file: string; version: string } | null {
  try {
    const root = dirname(dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium')));
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    const file = join(root, 'bin', 'swiftshader.tar.br');
    return existsSync(file) ? { file, version } : null;
  } catch {
    return null;
  }
}

/** Unpacks beside `directory` and renames, so that processes that start together never see half of it. */
function unpackInto(directory: string, archive: string): void {
  const staging = mkdtempSync(`${directory}.`);
  try {
    const tar = brotliDecompressSync(readFileSync(archive));
    for (const name of [LOADER, DRIVER])
      writeFileSync(join(staging, name), tarEntry(tar, name, archive), { mode: 0o700 });
    mkdirSync(join(staging, 'run'), { mode: 0o700 });
    const icd = { library_path: join(directory, DRIVER), api_version: '1.0.5' };
    writeFileSync(join(staging, MANIFEST), JSON.stringify({ file_format_version: '1.0.0', ICD: icd }));
    renameSync(staging, directory);
  } catch (error) {
    rmSync(staging, { recursive: true, force: true });
    if (!existsSync(join(directory, MANIFEST))) throw error;
  }
}

/** The contents of one regular file of a ustar archive. */
function tarEntry(tar: Buffer, wanted: string, archive: string): Buffer {
  for (let offset = 0; offset + TAR_BLOCK <= tar.length && tar[offset] !== 0; ) {
    const name = tar.toString('latin1', offset, offset + 100).split('\0', 1)[0];
    const size = Number.parseInt(tar.toString('latin1', offset + 124, offset + 136), 8);
    if (!(size >= 0)) break;
    const start = offset + TAR_BLOCK;
    if (name === wanted) return tar.subarray(start, start + size);
    offset = start + Math.ceil(size / TAR_BLOCK) * TAR_BLOCK;
  }
  throw new Error(
    `${archive} holds no ${wanted}: the version of @sparticuz/chromium has changed its layout; install version 153`,
  );
}
