import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Detokenizer, loadTokenizer, type Tokenizer } from '../../../packages/core/src/tokenizer/index.ts';
import { incompleteTail, Utf8Stream } from '../../../packages/core/src/tokenizer/utf8-stream.ts';
import { byteLevelJson, cpuClock, loadBundled, memoryFolder } from './sources.ts';

const utf8 = new TextEncoder();
const decode = (bytes: Uint8Array): string => new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);

function pushAll(detokenizer: Detokenizer, ids: readonly number[]): string[] {
  return [...ids.map(id => detokenizer.push(id)), detokenizer.flush()];
}

describe('Utf8Stream', () => {
  it('gives the text of all bytes, however they are cut, valid or not', () => {
    // Bytes that begin, continue and break characters, more often than chance would.
    const byte = fc.oneof(
      fc.nat(255),
      fc.constantFrom(0x80, 0xbf, 0xc2, 0xe0, 0xa0, 0xed, 0x9f, 0xf0, 0x90, 0xf4, 0x8f, 0xef, 0xbb, 0x41),
    );
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 6 }), { maxLength: 5 }),
        fc.array(fc.array(byte, { maxLength: 4 })),
        (a, b) => {
          const chunks = [...a, ...b.map(part => Uint8Array.from(part))];
          const stream = new Utf8Stream();
          const parts = [...chunks.map(chunk => stream.push(chunk)), stream.flush()];
          expect(parts.join('')).toBe(decode(Uint8Array.from(chunks.flatMap(chunk => [...chunk]))));
          for (const part of parts) expect(part).not.toMatch(/\p{Surrogate}/u);
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('hands out a character with its last byte, for every character length and every cut', () => {
    for (const text of ['a', 'é', '€', '𝄞', '\ufeff', '\u0800', '\ud7ff', '\u{10ffff}', '\u{10000}']) {
      const bytes = utf8.encode(text);
      const stream = new Utf8Stream();
      const parts = Array.from(bytes, byte => stream.push(Uint8Array.of(byte)));
      expect(parts).toEqual([...Array(bytes.length - 1).fill(''), text]);
      expect(stream.isBetweenCharacters).toBe(true);
    }
  });

  it.each([
    [[0xe2, 0x82], 2],
    [[0xe0, 0x80], 0],
    [[0xed, 0xa0], 0],
    [[0xf4, 0x90], 0],
    [[0xf0, 0x9f, 0x98], 3],
    [[0xc1], 0],
    [[0x80, 0x80], 0],
    [[0x41, 0xc3], 1],
    [[0xf5], 0],
  ])('knows what %j may become', (bytes, tail) => {
    expect(incompleteTail(Uint8Array.from(bytes))).toBe(tail);
  });
});

describe.each(['tiny-llama', 'tiny-opt'] as const)('detokenising with %s', name => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadBundled(name);
  });

  it('gives in pieces what decode gives at once, for any ids', () => {
    const ids = fc.array(fc.oneof(fc.nat(1023), fc.integer({ min: 126, max: 258 })), { maxLength: 60 });
    fc.assert(
      fc.property(ids, fc.boolean(), (sequence, skipSpecialTokens) => {
        const parts = pushAll(tokenizer.createDetokenizer({ skipSpecialTokens }), sequence);
        expect(parts.join('')).toBe(tokenizer.decode(sequence, { skipSpecialTokens }));
        for (const part of parts) expect(part).not.toMatch(/\p{Surrogate}/u);
      }),
      { numRuns: 500 },
    );
  });

  it('never gives U+FFFD while a character may still be completed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), text => {
        const clean = text.replaceAll('\ufffd', '');
        const ids = tokenizer.encode(clean, { addSpecialTokens: false, parseSpecialTokens: false });
        const parts = pushAll(tokenizer.createDetokenizer(), ids);
        expect(parts.join('')).toBe(clean);
        for (const part of parts) expect(part).not.toContain('\ufffd');
      }),
      { numRuns: 300 },
    );
  });

  it('goes on where the prompt ended', () => {
    const ids = tokenizer.encode('🦊🦊', { addSpecialTokens: false });
    const detokenizer = tokenizer.createDetokenizer({ promptTokenIds: ids.slice(0, -1) });
    expect(detokenizer.push(ids.at(-1)!)).toBe('🦊');
    expect(detokenizer.flush()).toBe('');
  });

  it('shows or hides special tokens, and ends a cut character with U+FFFD', () => {
    const fox = tokenizer.encode('🦊', { addSpecialTokens: false });
    const sequence = [1, 100, 2, ...fox.slice(0, -1)];
    expect(tokenizer.decode(sequence, { skipSpecialTokens: false })).toBe('<|im_start|>a<|im_end|>\ufffd');
    expect(tokenizer.decode(sequence)).toBe('a\ufffd');
    const detokenizer = tokenizer.createDetokenizer();
    expect(sequence.map(id => detokenizer.push(id)).join('')).toBe('a');
    expect(detokenizer.flush()).toBe('\ufffd');
  });

  it('knows the bytes of every token', () => {
    const text = 'Once upon a time 你好 🦊';
    const bytes = tokenizer.encode(text, { addSpecialTokens: false }).flatMap(id => [...tokenizer.tokenBytes(id)]);
    expect(decode(Uint8Array.from(bytes))).toBe(text);
    expect(decode(tokenizer.tokenBytes(2))).toBe('<|im_end|>');
    expect(tokenizer.tokenBytes(4096)).toHaveLength(0);
  });

  it('takes constant time per token', () => {
    const ids = Array.from({ length: 200_000 }, (_, i) => 3 + ((i * 7919) % 1021));
    const detokenizer = tokenizer.createDetokenizer();
    const elapsed = cpuClock();
    for (const id of ids) detokenizer.push(id);
    expect(elapsed()).toBeLessThan(2000);
  });
});

/** A vocabulary in the manner of SentencePiece, as Llama 2 and Gemma have it. */
function sentencePieceJson(decoder: unknown): Record<string, unknown> {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, '▁', 'a', 'b', '▁a', 'ab', '▁ab', '▁▁'];
  const merges = [
    ['▁', 'a'],
    ['a', 'b'],
    ['▁a', 'b'],
    ['▁', '▁'],
  ];
  return {
    added_tokens: [0, 1, 2].map(id => ({ id, content: tokens[id], special: true, normalized: false })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder,
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges,
    },
  };
}

const llamaDecoder = {
  type: 'Sequence',
  decoders: [
    { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
    { type: 'Strip', content: ' ', start: 1, stop: 0 },
  ],
};

describe('other kinds of vocabulary', () => {
  it('reads a SentencePiece-like vocabulary, byte fallback included', async () => {
    const tokenizer = await loadTokenizer(memoryFolder({ 'tokenizer.json': sentencePieceJson(llamaDecoder) }));
    const ids = tokenizer.encode('ab  a€<s>');
    expect(ids).toEqual([1, 264, 259, 262, 3 + 0xe2, 3 + 0x82, 3 + 0xac, 1]);
    expect(tokenizer.decode(ids)).toBe('ab  a€');
    expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe('<s> ab  a€<s>');
    expect([...tokenizer.tokenBytes(3 + 0xe2)]).toEqual([0xe2]);
    expect(decode(tokenizer.tokenBytes(264))).toBe(' ab');
  });

  it.each([
    ['Llama 2', llamaDecoder],
    ['Metaspace', { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' }],
    ['none', null],
    [
      'words',
      { type: 'Sequence', decoders: [{ type: 'ByteFallback' }, { type: 'WordPiece', prefix: '##', cleanup: false }] },
    ],
  ])('streams what decode gives with the decoder %s', async (_, decoder) => {
    const tokenizer = await loadTokenizer(memoryFolder({ 'tokenizer.json': sentencePieceJson(decoder) }));
    const letters = fc.array(fc.constantFrom(259, 260, 261, 262, 263, 264, 265, 1, 2), { maxLength: 40 });
    fc.assert(
      fc.property(letters, fc.boolean(), (ids, skipSpecialTokens) => {
        const parts = pushAll(tokenizer.createDetokenizer({ skipSpecialTokens }), ids);
        expect(parts.join('')).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
      }),
    );
  });

  it('joins special tokens that follow each other, where the decoder would set them apart', async () => {
    const decoder = { type: 'WordPiece', prefix: '##', cleanup: false };
    const tokenizer = await loadTokenizer(memoryFolder({ 'tokenizer.json': sentencePieceJson(decoder) }));
    const ids = [260, 1, 2, 1, 261, 2];
    const text = (options: object) =>
      pushAll(tokenizer.createDetokenizer({ skipSpecialTokens: false, ...options }), ids).join('');
    expect(text({})).toBe('a <s> </s> <s> b </s>');
    expect(text({ spacesBetweenSpecialTokens: false })).toBe('a <s></s><s> b </s>');
    expect(text({ spacesBetweenSpecialTokens: false, skipSpecialTokens: true })).toBe('a b');
  });

  it('keeps the space of the first token after a prompt', async () => {
    const tokenizer = await loadTokenizer(memoryFolder({ 'tokenizer.json': sentencePieceJson(llamaDecoder) }));
    expect(tokenizer.createDetokenizer().push(264)).toBe('ab');
    expect(tokenizer.createDetokenizer({ promptTokenIds: [1, 264] }).push(264)).toBe(' ab');
  });

  it('waits for the bytes of a character with a decoder that needs neighbours', async () => {
    const decoder = {
      type: 'Sequence',
      decoders: [{ type: 'ByteFallback' }, { type: 'WordPiece', prefix: '##', cleanup: false }],
    };
    const tokenizer = await loadTokenizer(memoryFolder({ 'tokenizer.json': sentencePieceJson(decoder) }));
    const detokenizer = tokenizer.createDetokenizer();
    const parts = [260, 3 + 0xe2, 3 + 0x82, 3 + 0xac, 261].map(id => detokenizer.push(id));
    expect(parts).toEqual(['a', '', '', ' €', ' b']);
    expect(detokenizer.flush()).toBe('');
  });

  it('decodes byte-level tokens by byte and added tokens as they are written', async () => {
    const json = byteLevelJson({}, ['<s>', '</s>', 'é Ġ']);
    const tokenizer = await loadTokenizer(memoryFolder({ 'tokenizer.json': json }));
    expect(tokenizer.decode([2], { skipSpecialTokens: false })).toBe('é Ġ');
    expect(tokenizer.decode(tokenizer.encode('Ġé'))).toBe('Ġé');
  });
});
