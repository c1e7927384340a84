import type * as XGrammar from '@mlc-ai/web-xgrammar';

export type { XGrammar };

/** The library, and what it printed since the last call: its errors say nothing, its last words do. */
export interface LoadedXGrammar {
  readonly library: typeof XGrammar;
  takeMessages(): string;
}

/**
 * Loads the grammar library (2 MB, with its WebAssembly inside). For a thread of its own: the library is a script that looks for
 * a page or for CommonJS, so in Node's modules it is given a location to find, and it reports through console.error.
 */
export async function loadXGrammar(): Promise<LoadedXGrammar> {
  const scope = globalThis as { location?: unknown; xgrammar?: typeof XGrammar };
  scope.location ??= { href: import.meta.url };
  const messages: string[] = [];
  console.error = (...values: unknown[]) => void messages.push(values.join(' '));
  const module = await import('@mlc-ai/web-xgrammar');
  return { library: scope.xgrammar ?? module, takeMessages: () => messages.splice(0).join('\n') };
}
