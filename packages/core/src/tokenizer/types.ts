/** One turn of a conversation, after the server's schema: content is plain text. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
  /** Of a model's turn: the calls that it made. Templates see them as `tool_calls`, in OpenAI's form. */
  readonly toolCalls?: readonly ChatToolCall[];
  /** Of a turn that holds the result of a call: which one. Templates see `tool_call_id`. */
  readonly toolCallId?: string;
  /** Of a model's turn: its reasoning. Templates see `reasoning` and `reasoning_content`. */
  readonly reasoning?: string;
}

export interface ChatToolCall {
  readonly id: string;
  readonly name: string;
  /** JSON values. */
  readonly arguments: Readonly<Record<string, unknown>>;
}

export interface EncodeOptions {
  /** Add what the model puts around a prompt (BOS). Default true. */
  addSpecialTokens?: boolean;
  /** Spell special tokens in the text become their ids (Hugging Face's behaviour for raw prompts). Default true. */
  parseSpecialTokens?: boolean;
  /** Throws InvalidRequestError once the text must exceed this many tokens, before work proportional to its length is done. */
  maxTokens?: number;
}

export interface ChatTemplateOptions {
  /** Ends with what the template writes in front of an answer. Default: true, except with `continueFinalMessage`. */
  addGenerationPrompt?: boolean;
  /** Leaves the last message open, so that the model goes on with it. Excludes `addGenerationPrompt`. */
  continueFinalMessage?: boolean;
  /** Replaces the model's template. Never taken from a request. */
  chatTemplate?: string;
  /** Definitions of tools, as JSON values in OpenAI's form: what the template shows of them is text of the request. */
  tools?: readonly object[];
  /** Further variables of the template, such as `enable_thinking`: plain values, under names that are not the renderer's own. */
  chatTemplateKwargs?: Readonly<Record<string, string | number | boolean | null>>;
  /** For encodeChat: as in EncodeOptions. */
  maxTokens?: number;
}

/** A chat template, for those who must know what it can do. */
export interface ChatTemplateFacts {
  /** Of a model with a template of its own for tools: that one. */
  readonly source: string;
  /** Every name in it: those of variables that it reads are among them. Empty when it cannot be parsed. */
  readonly names: ReadonlySet<string>;
}

/** Text to ids and back. Pure and synchronous; made by `loadTokenizer`. */
export interface Tokenizer {
  /** Number of ids, added tokens included. Not the width of the logits. */
  readonly vocabSize: number;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly specialTokenIds: ReadonlySet<number>;
  readonly hasChatTemplate: boolean;
  /** What the model's own template is made of; null without one. */
  readonly chatTemplate: ChatTemplateFacts | null;
  encode(text: string, options?: EncodeOptions): number[];
  /** Ids without a token have no text. `skipSpecialTokens`: default true, here and in the detokenizer. */
  decode(ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string;
  /** The raw bytes of one token: what an OpenAI logprob entry lists. */
  tokenBytes(id: number): Uint8Array;
  tokenToId(token: string): number | undefined;
  /** The rendered conversation, as text. */
  renderChat(messages: readonly ChatMessage[], options?: ChatTemplateOptions): string;
  /** Ids of the rendered conversation, no BOS added: text of messages never becomes special ids, the template's own markers do. */
  encodeChat(
    messages: readonly ChatMessage[],
    options?: ChatTemplateOptions & Pick<EncodeOptions, 'maxTokens'>,
  ): number[];
  /**
   * Turns ids into text as they arrive; never emits half a character. Without a prompt, what it emits together is `decode` of all
   * ids; with one, the text goes on where the prompt ended.
   */
  createDetokenizer(options?: DetokenizerOptions): Detokenizer;
}

export interface DetokenizerOptions {
  skipSpecialTokens?: boolean;
  /** false: special tokens that follow each other stand without what the decoder puts between tokens. Default true. */
  spacesBetweenSpecialTokens?: boolean;
  promptTokenIds?: readonly number[];
}

export interface Detokenizer {
  /** Text that became final with this id; empty while a character is incomplete. */
  push(id: number): string;
  /** What is left at the end (an incomplete character becomes U+FFFD). */
  flush(): string;
}
