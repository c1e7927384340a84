import type { ChatRenderer } from './chat/chat-renderer.ts';
import { JoinedSpecialTokens } from './joined-special-tokens.ts';
import { PromptEncoder } from './prompt-encoder.ts';
import { TokenDecoder } from './token-decoder.ts';
import type { SpecialTokens, TokenizerSpec } from './tokenizer-spec.ts';
import type {
  ChatMessage,
  ChatTemplateFacts,
  ChatTemplateOptions,
  Detokenizer,
  DetokenizerOptions,
  EncodeOptions,
  Tokenizer,
} from './types.ts';
import { Vocabulary } from './vocabulary.ts';

/** The tokenizer of a checkpoint. */
export class ModelTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  readonly specialTokenIds: ReadonlySet<number>;
  readonly #vocabulary: Vocabulary;
  readonly #encoder: PromptEncoder;
  readonly #decoder: TokenDecoder;
  readonly #chat: ChatRenderer;

  constructor(spec: TokenizerSpec, special: SpecialTokens, chat: ChatRenderer) {
    this.#vocabulary = new Vocabulary(spec);
    this.#encoder = new PromptEncoder(spec, this.#vocabulary);
    this.#decoder = new TokenDecoder(spec, this.#vocabulary);
    this.#chat = chat;
    this.vocabSize = this.#vocabulary.size;
    this.specialTokenIds = this.#vocabulary.specialIds;
    this.bosTokenId = this.#idOfRole(special, 'bos_token');
    this.eosTokenId = this.#idOfRole(special, 'eos_token');
  }

  get hasChatTemplate(): boolean {
    return this.#chat.hasTemplate;
  }

  get chatTemplate(): ChatTemplateFacts | null {
    return this.#chat.facts;
  }

  encode(text: string, options: EncodeOptions = {}): number[] {
    const { addSpecialTokens = true, parseSpecialTokens = true, maxTokens } = options;
    return this.#encoder.encode(text, parseSpecialTokens ? [] : [[0, text.length]], addSpecialTokens, maxTokens);
  }

  decode(ids: readonly number[], options: { skipSpecialTokens?: boolean } = {}): string {
    return this.#decoder.decode(ids, options.skipSpecialTokens ?? true);
  }

  tokenBytes(id: number): Uint8Array {
    return this.#decoder.tokenBytes(id);
  }

  tokenToId(token: string): number | undefined {
    return this.#vocabulary.id(token);
  }

  renderChat(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    return this.#chat.render(messages, options).text;
  }

  encodeChat(messages: readonly ChatMessage[], options: ChatTemplateOptions & { maxTokens?: number } = {}): number[] {
    const { text, untrusted } = this.#chat.render(messages, options);
    return this.#encoder.encode(text, untrusted, false, options.maxTokens);
  }

  createDetokenizer(options: DetokenizerOptions = {}): Detokenizer {
    const { skipSpecialTokens = true, spacesBetweenSpecialTokens = true, promptTokenIds = [] } = options;
    const detokenizer = this.#decoder.createDetokenizer(skipSpecialTokens, promptTokenIds);
    if (skipSpecialTokens || spacesBetweenSpecialTokens) return detokenizer;
    return new JoinedSpecialTokens(detokenizer, this.#vocabulary);
  }

  #idOfRole(special: SpecialTokens, role: string): number | null {
    const token = special.byRole.get(role);
    return token === undefined ? null : (this.#vocabulary.id(token) ?? null);
  }
}
