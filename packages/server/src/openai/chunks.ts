/** The last event of a stream that is whole. */
export const DONE = 'data: [DONE]\n\n';

/** The fields that every chunk of one stream repeats. */
export interface ChunkHead {
  id: string;
  object: 'chat.completion.chunk' | 'text_completion';
  created: number;
  model: string;
  system_fingerprint: string;
}

/** Makes the events of one stream. What all chunks share is text made once; only the choice is serialised per chunk. */
export class ChunkWriter {
  readonly #prefix: string;
  readonly #suffix: string;

  /** includeUsage: chunks without usage say `"usage":null`, as OpenAI's do. */
  constructor(head: ChunkHead, includeUsage: boolean) {
    this.#prefix = `data: ${JSON.stringify(head).slice(0, -1)},"choices":[`;
    this.#suffix = includeUsage ? '],"usage":null}\n\n' : ']}\n\n';
  }

  /** One event with one choice, given as JSON. */
  chunk(choice: string, usage: unknown): string {
    return usage === null
      ? this.#prefix + choice + this.#suffix
      : `${this.#prefix}${choice}],"usage":${JSON.stringify(usage)}}\n\n`;
  }

  /** The event after the last choice. */
  usage(usage: unknown): string {
    return this.chunk('', usage);
  }
}
