/** What the page asks its worker, and what the worker answers. */
export type Task =
  | { readonly kind: 'generate'; readonly folder: string; readonly files: readonly string[]; readonly prompt: string }
  | { readonly kind: 'crosscheck'; readonly ops: readonly string[] };

export type Answer =
  | { readonly kind: 'generated'; readonly tokenIds: number[]; readonly text: string; readonly adapter: string }
  | { readonly kind: 'crosschecked'; readonly cases: number; readonly failures: string[] }
  | { readonly kind: 'failed'; readonly message: string };
