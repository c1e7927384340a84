import { readFile } from 'node:fs/promises';
import { ConfigError } from '@quire/core';

/** The chat template in a file. Throws ConfigError when it cannot be read. */
export async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new ConfigError(
      `chatTemplate is neither a template nor a file that can be read: ${(cause as NodeJS.ErrnoException).code} for ${JSON.stringify(file)}.`,
      'chatTemplate',
    );
  }
}
