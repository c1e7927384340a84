/** Where the timed choices of an adapter are kept. */
import { fragments, shaders } from './shaders.gen.ts';
import type { KeptChoices } from './tuning.ts';

/** A name for the choices of an adapter with these kernels: other kernels are timed again. */
export function choicesName({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  const adapter = [vendor, architecture, device, description].join('\n');
  return `linear-webgpu-${hash(adapter)}-${hash(JSON.stringify([fragments, shaders]))}.json`;
}

/** FNV-1a, 32 bits. */
function hash(text: string): string {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return (value >>> 0).toString(16).padStart(8, '0');
}

/** Keeps texts by name, beyond the life of the process where it can. */
export interface ChoiceStore {
  read(name: string): Promise<string | undefined>;
  write(name: string, text: string): Promise<void>;
}

/** Of this process: a device that takes the place of a lost one computes as that did. */
const ofProcess = new Map<string, string>();

export function keptChoices(name: string, store: ChoiceStore): KeptChoices {
  return {
    read: async () => ofProcess.get(name) ?? store.read(name),
    write: async text => {
      ofProcess.set(name, text);
      await store.write(name, text);
    },
  };
}

/** The browser's cache of responses. A page without https has none. */
export const browserStore: ChoiceStore = {
  read: async name => (await (await openCache())?.match(urlOf(name)))?.text(),
  write: async (name, text) => (await openCache())?.put(urlOf(name), new Response(text)),
};

async function openCache(): Promise<Cache | undefined> {
  return globalThis.caches?.open('quire-choices');
}

function urlOf(name: string): string {
  return `https://quire.invalid/${name}`;
}
