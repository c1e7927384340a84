import { ModelFormatError } from '../errors.ts';
import { showJson } from '../weights/json-tree.ts';
import type { AddedToken } from './added-tokens.ts';
import { checkId } from './check-model.ts';
import { JsonFields } from './json-fields.ts';
import type { SpecialTokens, TokenizerSpec } from './tokenizer-spec.ts';

/** In UTF-16 code units. Finding added tokens takes this many steps per character at worst. */
const MAX_CONTENT_LENGTH = 256;
const MAX_ADDED_TOKENS = 100_000;

/** Collects added tokens from the files of a folder, and refuses those that contradict each other or the vocabulary. */
export class AddedTokenSet {
  readonly #model: TokenizerSpec['model'];
  readonly #contentOf = new Map<number, string>();
  readonly #byContent = new Map<string, AddedToken>();

  constructor(model: TokenizerSpec['model']) {
    this.#model = model;
  }

  get tokens(): AddedToken[] {
    return [...this.#byContent.values()];
  }

  hasId(id: number): boolean {
    return this.#contentOf.has(id) || this.#model.tokens[id] !== undefined;
  }

  idOf(content: string): number | undefined {
    return this.#byContent.get(content)?.id ?? this.#model.vocab.get(content);
  }

  /** `added_tokens` of tokenizer.json. */
  addList(root: JsonFields): void {
    if (!root.has('added_tokens')) return;
    root.array('added_tokens').forEach((value, i) => {
      const fields = new JsonFields(root.file, `added_tokens[${i}]`, value);
      const token = readToken(fields, checkId(fields.raw('id'), fields, 'id'));
      if (this.#byContent.has(token.content)) throw clash(fields, `${showJson(token.content)} listed twice`);
      this.#add(token, fields);
    });
  }

  /** `added_tokens_decoder` of tokenizer_config.json: id -> token. Tokens that are known already keep their flags. */
  addDecoder(config: JsonFields): void {
    if (!config.has('added_tokens_decoder')) return;
    const decoder = config.object('added_tokens_decoder');
    for (const [key, value] of decoder.entries()) {
      const id = checkId(/^\d{1,10}$/.test(key) ? Number(key) : key, decoder, key);
      const fields = new JsonFields(config.file, decoder.pathOf(key), value);
      this.#addUnlessKnown(readToken(fields, id), fields);
    }
  }

  /** `added_tokens.json`: token -> id. */
  addFile(file: JsonFields): void {
    for (const [content, value] of file.entries()) {
      this.#addUnlessKnown(plainToken(checkContent(content, file), checkId(value, file, content), false), file);
    }
  }

  /** Makes the tokens that have a role special. A role whose token has no id is dropped, unless the engine needs it. */
  markSpecial(special: SpecialTokens, file: string): void {
    for (const [role, content] of special.byRole) {
      if (!this.#markSpecial(content) && (role === 'bos_token' || role === 'eos_token')) {
        const details = { file, field: role, found: showJson(content), expected: 'a token of the vocabulary' };
        throw new ModelFormatError('TOKENIZER_SPECIAL_TOKEN', 'this token has no id', details);
      }
    }
    for (const content of special.additional) this.#markSpecial(content);
  }

  #markSpecial(content: string): boolean {
    const id = this.idOf(content);
    if (id === undefined) return false;
    this.#byContent.set(content, { ...(this.#byContent.get(content) ?? plainToken(content, id, true)), special: true });
    return true;
  }

  #addUnlessKnown(token: AddedToken, fields: JsonFields): void {
    const known = this.#byContent.get(token.content);
    if (known === undefined) this.#add(token, fields);
    else if (known.id !== token.id)
      throw clash(fields, `${showJson(token.content)} with ids ${known.id} and ${token.id}`);
  }

  #add(token: AddedToken, fields: JsonFields): void {
    const owner = this.#contentOf.get(token.id) ?? this.#model.tokens[token.id];
    if (owner !== undefined && owner !== token.content) {
      throw clash(fields, `id ${token.id} for both ${showJson(owner)} and ${showJson(token.content)}`);
    }
    const id = this.#model.vocab.get(token.content);
    if (id !== undefined && id !== token.id)
      throw clash(fields, `${showJson(token.content)} with ids ${id} and ${token.id}`);
    if (this.#byContent.size === MAX_ADDED_TOKENS) {
      throw new ModelFormatError('TOKENIZER_TOO_LARGE', 'there are too many added tokens', {
        file: fields.file,
        expected: `at most ${MAX_ADDED_TOKENS}`,
      });
    }
    this.#contentOf.set(token.id, token.content);
    this.#byContent.set(token.content, token);
  }
}

function readToken(fields: JsonFields, id: number): AddedToken {
  const special = fields.booleanOr('special', false);
  return {
    id,
    content: checkContent(fields.string('content'), fields),
    special,
    normalized: fields.booleanOr('normalized', !special),
    lstrip: fields.booleanOr('lstrip', false),
    rstrip: fields.booleanOr('rstrip', false),
    singleWord: fields.booleanOr('single_word', false),
  };
}

function plainToken(content: string, id: number, special: boolean): AddedToken {
  return { id, content, special, normalized: !special, lstrip: false, rstrip: false, singleWord: false };
}

function checkContent(content: string, fields: JsonFields): string {
  if (content !== '' && content.length <= MAX_CONTENT_LENGTH) return content;
  const details = {
    file: fields.file,
    field: fields.pathOf('content'),
    found: `${content.length} characters`,
    expected: `1 to ${MAX_CONTENT_LENGTH}`,
  };
  throw new ModelFormatError('TOKENIZER_ADDED_TOKEN', 'this added token cannot be searched for', details);
}

function clash(fields: JsonFields, found: string): ModelFormatError {
  const details = { file: fields.file, field: fields.path, found, expected: 'one id per token' };
  return new ModelFormatError('TOKENIZER_ADDED_TOKEN', 'this added token contradicts another token', details);
}
