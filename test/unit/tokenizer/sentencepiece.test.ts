import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadTokenizer, type Tokenizer } from '../../../packages/core/src/tokenizer/index.ts';
import { SPACE, sentencePieceBpe, unigram } from './sentencepiece.ts';
import { cpuClock, memoryFolder } from './sources.ts';

const config = { tokenizer_class: 'PreTrainedTokenizerFast', bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' };

function load(tokenizer: object): Promise<Tokenizer> {
  return loadTokenizer(memoryFolder({ 'tokenizer.json': tokenizer, 'tokenizer_config.json': config }));
}

function library(tokenizer: object): { encode(text: string): { ids: number[] } } {
  const Constructor = LibraryTokenizer as unknown as new (a: object, b: object) => ReturnType<typeof library>;
  return new Constructor(tokenizer, config);
}

const known = ['the', ' quick', 'there', ' ', '  ', 'fox', ' that', '12', '.', 'think', ' dogs', 'hello'];
const unknown = ['é', '世界', '👩‍👧', '\n', 'Z', '\t', 'É'];
const texts = (parts: readonly string[]) =>
  fc.array(fc.constantFrom(...parts), { minLength: 1, maxLength: 30 }).map(list => list.join(''));

describe.each([
  ['with a space in front, as Llama 2', true],
  ['without, as Gemma', false],
])('a BPE of SentencePiece %s', (_, prepend) => {
  const json = sentencePieceBpe(prepend);

  it('gives the ids of the Hugging Face library', async () => {
    const [tokenizer, other] = [await load(json), library(json)];
    fc.assert(
      fc.property(texts([...known, ...unknown]), text => {
        expect(tokenizer.encode(text)).toEqual(other.encode(text).ids);
      }),
      { numRuns: 300 },
    );
  });

  it('gives the text back, characters that it lacks by their bytes', async () => {
    const tokenizer = await load(json);
    fc.assert(
      fc.property(texts([...known, ...unknown]), text => {
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
        const detokenizer = tokenizer.createDetokenizer();
        const pieces = tokenizer.encode(text).map(id => detokenizer.push(id));
        expect(pieces.join('') + detokenizer.flush()).toBe(text);
      }),
      { numRuns: 200 },
    );
    const ids = tokenizer.encode('界', { addSpecialTokens: false }).slice(prepend ? 1 : 0);
    expect(ids.map(id => [...tokenizer.tokenBytes(id)])).toEqual([[0xe7], [0x95], [0x8c]]);
  });
});

describe('a Unigram model', () => {
  it('gives the ids of the Hugging Face library', async () => {
    const json = unigram();
    const [tokenizer, other] = [await load(json), library(json)];
    fc.assert(
      fc.property(texts(known), text => {
        expect(tokenizer.encode(text)).toEqual(other.encode(text).ids);
      }),
      { numRuns: 300 },
    );
  });

  it('takes the most probable way, not the longest piece, and the first of equals', async () => {
    const vocab = [
      ['<unk>', 0],
      ['a', -1],
      ['b', -1],
      ['c', -1],
      ['ab', -1.5],
      ['bc', -1.2],
      ['abc', -4],
      ['d', -2],
      ['cd', -3],
    ];
    const tokenizer = await load(unigram({ vocab: withSpecial(vocab) }));
    const pieces = (text: string) =>
      tokenizer.encode(text).map(id => new TextDecoder().decode(tokenizer.tokenBytes(id)));
    // a + bc: -2.2, ab + c: -2.5, abc: -4, a + b + c: -3.
    expect(pieces('abc').slice(1)).toEqual(['a', 'bc']);
    // c + d is as good as cd: what reaches the end first stays.
    expect(pieces('cd').slice(1)).toEqual(['cd']);
  });

  it('has one unknown token for unknown characters in a row, or the bytes of each', async () => {
    const vocab = withSpecial([['a', -1]]);
    const plain = await load(unigram({ vocab }));
    const ids = (tokenizer: Tokenizer, text: string) => tokenizer.encode(text);
    const a = plain.tokenToId('a');
    expect(ids(plain, 'aéxa')).toEqual([plain.tokenToId(SPACE), a, 0, a]);
    const bytes = Array.from({ length: 256 }, (_, byte) => [
      `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`,
      -9,
    ]);
    const fallback = await load(unigram({ vocab: [...vocab, ...bytes], byte_fallback: true }));
    const byte = (value: number) => fallback.tokenToId(`<0x${value.toString(16).toUpperCase()}>`);
    expect(ids(fallback, 'aé').slice(-3)).toEqual([fallback.tokenToId('a'), byte(0xc3), byte(0xa9)]);
  });

  it('never makes a special token of text', async () => {
    const tokenizer = await load(unigram());
    expect(tokenizer.encode('</s>', { parseSpecialTokens: false })).not.toContain(tokenizer.eosTokenId);
    expect(tokenizer.encode('</s>')).toContain(tokenizer.eosTokenId);
  });
});

describe('a Precompiled normaliser', () => {
  const rules = { Ａ: 'A', ﬁ: 'fi', '\u00a0': ' ', '\t': ' ', e: 'e', 'e\u0301': 'é', '㍿': '株式会社', '\u200b': '' };

  it('replaces graphemes, then characters, by the shortest rule', async () => {
    const normalizer = { type: 'Precompiled', precompiled_charsmap: charsMap(rules) };
    const vocab = withSpecial([...'ABfi株式会社éex '].map((piece, i) => [piece, -1 - i]));
    const model = { ...unigram({ vocab }), normalizer, pre_tokenizer: null };
    const tokenizer = await load(model);
    const normal = (text: string) =>
      new TextDecoder().decode(Uint8Array.from(tokenizer.encode(text).flatMap(id => [...tokenizer.tokenBytes(id)])));
    expect(normal('Ａﬁx')).toBe('Afix');
    expect(normal('B\u00a0\t')).toBe('B  ');
    expect(normal('㍿\u200bA')).toBe('株式会社A');
    // A rule for e begins the grapheme, and is the shorter: its accent goes with it.
    expect(normal('e\u0301x')).toBe('ex');
    expect(normal('xAB')).toBe('xAB');
  });

  it('refuses a table that is none', async () => {
    for (const map of ['', '!!', 'AAAA', 'BAAAAAAA']) {
      const model = { ...unigram(), normalizer: { type: 'Precompiled', precompiled_charsmap: map } };
      await expect(load(model)).rejects.toThrow('precompiled_charsmap');
    }
  });
});

describe('a megabyte of hostile text', () => {
  const sources = {
    spaces: ' '.repeat(1 << 20),
    'one long word': 'thequickbrownfoxjumps'.repeat(50_000),
    'unknown characters': '世界é\u0301👩‍👧'.repeat(120_000),
  };
  const models = {
    'Llama 2': sentencePieceBpe(true),
    Gemma: sentencePieceBpe(false),
    Unigram: unigram(),
    'Unigram without words': { ...unigram(), pre_tokenizer: null },
  };
  const cases = Object.keys(models).flatMap(model => Object.keys(sources).map(text => [model, text] as const));

  it.each(cases)('%s encodes %s in less than a second of processor time', async (model, text) => {
    const tokenizer = await load(models[model as keyof typeof models]);
    let milliseconds = Number.POSITIVE_INFINITY;
    // Processor time grows on a machine that does much else.
    for (let attempt = 0; attempt < 3 && milliseconds >= 1000; attempt++) {
      const clock = cpuClock();
      expect(tokenizer.encode(sources[text as keyof typeof sources]).length).toBeGreaterThan(0);
      milliseconds = Math.min(milliseconds, clock());
    }
    expect(milliseconds).toBeLessThan(1000);
  });
});

function withSpecial(pieces: readonly unknown[]): unknown[] {
  const rest = pieces.filter(entry => (entry as [string])[0] !== '<unk>');
  return [['<unk>', 0], ['<s>', 0], ['</s>', 0], [SPACE, -20], ...rest];
}

/** What SentencePiece compiles rules into; a double array with a block of 256 units for each node. */
function charsMap(rules: Readonly<Record<string, string>>): string {
  const utf8 = new TextEncoder();
  const replacements: number[] = [];
  const keys = Object.entries(rules).map(([key, value]) => {
    const at = replacements.length;
    replacements.push(...utf8.encode(value), 0);
    return [[...utf8.encode(key)], at] as const;
  });
  const units: number[] = [0];
  let blocks = 1;
  const place = (index: number, label: number, depth: number, within: typeof keys): void => {
    const base = 256 * blocks++;
    const leaf = within.find(([key]) => key.length === depth);
    units[index] = ((index ^ base) << 10) | (leaf === undefined ? 0 : 1 << 8) | label;
    if (leaf !== undefined) units[base] = (leaf[1] | 0x80000000) >>> 0;
    for (const next of new Set(within.filter(([key]) => key.length > depth).map(([key]) => key[depth]!))) {
      place(
        base ^ next,
        next,
        depth + 1,
        within.filter(([key]) => key[depth] === next),
      );
    }
  };
  place(0, 0, 0, keys);
  const table = Uint32Array.from({ length: 256 * blocks }, (_, i) => units[i] ?? 0);
  const raw = Buffer.concat(
    [Uint32Array.of(table.byteLength), table, Uint8Array.from(replacements)].map(part =>
      Buffer.from(part.buffer, part.byteOffset, part.byteLength),
    ),
  );
  return raw.toString('base64');
}
