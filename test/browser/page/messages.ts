/** What the page asks its worker, and what the worker answers. */
export type Task =
  | { readonly kind: 'generate'; readonly folder: string; readonly files: readonly string[]; readonly prompt: string }
  | { readonly kind: 'crosscheck'; readonly ops: readonly string[] }
  /** `change`: what is put into the kept texts in the place of what, first. */
  | { readonly kind: 'tune'; readonly change: { readonly from: string; readonly to: string } | null };

export type Answer =
  | { readonly kind: 'generated'; readonly tokenIds: number[]; readonly text: string; readonly adapter: string }
  | { readonly kind: 'crosschecked'; readonly cases: number; readonly failures: string[] }
  | { readonly kind: 'tuned'; readonly kept: Record<string, string>[]; readonly variants: string[] }
  | { readonly kind: 'failed'; readonly message: string };
