import { unpackBundledChromium } from './chromium.ts';

/** Before the workers fork: two of them that unpack at once would start a Chromium that is not whole yet. */
export default async function setup(): Promise<void> {
  await unpackBundledChromium();
}
