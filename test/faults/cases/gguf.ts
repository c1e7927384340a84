import { type GgufMetadata, writeGguf } from '../../../scripts/gguf/write-gguf.mjs';

const sizes = {
  block_count: 1,
  context_length: 8,
  embedding_length: 4,
  feed_forward_length: 4,
  'attention.head_count': 1,
};
export const usualGguf: GgufMetadata = {
  'general.architecture': ['string', 'llama'],
  ...Object.fromEntries(Object.entries(sizes).map(([key, value]) => [`llama.${key}`, ['u32', value] as const])),
  'llama.attention.layer_norm_rms_epsilon': ['f32', 1e-5],
};
const table = { name: 'token_embd.weight', shape: [2, 4], type: 'F32', data: new Float32Array(8) } as const;
/** A file that is whole. */
export const goodGguf = writeGguf(usualGguf, [table]);
export const changedGguf = (change: (view: DataView, bytes: Uint8Array) => void, bytes = goodGguf) => {
  const copy = bytes.slice();
  change(new DataView(copy.buffer), copy);
  return copy;
};
const keyed = (metadata: GgufMetadata) => writeGguf({ ...usualGguf, ...metadata }, [table]);
const tensor = (change: object) => writeGguf(usualGguf, [{ ...table, ...change }]);
/** A file with one tensor of experts. */
const mixture = (shape: number[], count: number) => {
  const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
  const keys = { 'llama.expert_count': ['u32', count], 'llama.expert_used_count': ['u32', 1] } as const;
  return writeGguf({ ...usualGguf, ...keys }, [table, { ...table, name: 'blk.0.ffn_up_exps.weight', shape, data }]);
};

/** Where the type of its tensor stands. */
const typeAt = Buffer.from(goodGguf).indexOf('token_embd.weight') + 17 + 4 + 16;

/** Files that are wrong in one thing each, and the code of the error. */
export const ggufCases: readonly (readonly [what: string, bytes: Uint8Array, code: string])[] = [
  ['no magic', changedGguf(view => view.setUint8(0, 0)), 'GG_MAGIC'],
  ['an empty file', new Uint8Array(0), 'GG_MAGIC'],
  ['a magic alone', goodGguf.slice(0, 20), 'GG_MAGIC'],
  ['version 1', changedGguf(view => view.setUint32(4, 1, true)), 'GG_VERSION'],
  ['another byte order', changedGguf(view => view.setUint32(4, 3)), 'GG_VERSION'],
  ['2^62 tensors', changedGguf(view => view.setBigUint64(8, 2n ** 62n, true)), 'GG_LIMIT'],
  ['90,000 tensors in a small file', changedGguf(view => view.setBigUint64(8, 90_000n, true)), 'GG_TRUNC'],
  ['2^40 keys', changedGguf(view => view.setBigUint64(16, 2n ** 40n, true)), 'GG_LIMIT'],
  ['a key of 2^63 bytes', changedGguf(view => view.setBigUint64(24, 2n ** 63n, true)), 'GG_LIMIT'],
  ['a key beyond the file', changedGguf(view => view.setBigUint64(24, 10_000n, true)), 'GG_TRUNC'],
  ['a key that is not UTF-8', changedGguf(view => view.setUint8(32, 0xff)), 'GG_UTF8'],
  ['a value of type 99', changedGguf(view => view.setUint32(32 + 20, 99, true)), 'GG_VALUE'],
  ['an alignment of 3', keyed({ 'general.alignment': ['u32', 3] }), 'GG_VALUE'],
  ['an alignment of 2^31', keyed({ 'general.alignment': ['u32', 2 ** 31] }), 'GG_VALUE'],
  ['an alignment that is text', keyed({ 'general.alignment': ['string', '32'] }), 'GG_VALUE'],
  ['no architecture', writeGguf({}, [table]), 'GG_VALUE'],
  ['another architecture', keyed({ 'general.architecture': ['string', 'rwkv'] }), 'GG_ARCH'],
  ['a mixture that is not told how many experts to take', keyed({ 'llama.expert_count': ['u32', 8] }), 'GG_VALUE'],
  [
    'a mixture of an architecture that is read without',
    keyed({ 'general.architecture': ['string', 'qwen3'], 'qwen3.expert_count': ['u32', 8] }),
    'GG_ARCH',
  ],
  ['experts that are one matrix', mixture([2, 4], 2), 'GG_TENSOR'],
  ['fewer matrices than experts', mixture([1, 2, 4], 2), 'GG_TENSOR'],
  ['more experts than any model has', mixture([200_000, 1, 1], 200_000), 'GG_LIMIT'],
  ['a size that is text', keyed({ 'llama.block_count': ['string', 'one'] }), 'GG_VALUE'],
  ['a size that is missing', writeGguf({ 'general.architecture': ['string', 'llama'] }, [table]), 'GG_VALUE'],
  ['sizes that differ', keyed({ 'llama.attention.head_count_kv': [['u32'], [1, 2]] }), 'GG_VALUE'],
  ['another scaling of positions', keyed({ 'llama.rope.scaling.type': ['string', 'ntk'] }), 'GG_VALUE'],
  ['a tensor twice', writeGguf(usualGguf, [table, table]), 'GG_DUP'],
  ['a tensor of five dimensions', tensor({ shape: [1, 1, 1, 2, 4] }), 'GG_TENSOR'],
  ['a tensor of none', tensor({ shape: [] }), 'GG_TENSOR'],
  ['a tensor of size 0', tensor({ shape: [0, 4] }), 'GG_TENSOR'],
  ['a tensor of 2^64 elements', tensor({ shape: [2 ** 32, 2 ** 32] }), 'GG_TENSOR'],
  ['a tensor beyond the file', tensor({ shape: [4000, 4] }), 'GG_TRUNC'],
  ['rows that are no blocks', tensor({ type: 'Q4_0', data: new Uint8Array(18) }), 'GG_TENSOR'],
  ['a tensor with another name', tensor({ name: 'blk.0.something.weight' }), 'GG_NAME'],
  ['a name of Object', tensor({ name: 'blk.0.constructor.weight' }), 'GG_NAME'],
  [
    'another tokenizer',
    keyed({ 'tokenizer.ggml.model': ['string', 'bert'], 'tokenizer.ggml.tokens': [['string'], []] }),
    'GG_TOKENIZER',
  ],
  [
    'tokens that are numbers',
    keyed({ 'tokenizer.ggml.model': ['string', 'gpt2'], 'tokenizer.ggml.tokens': [['u32'], [1]] }),
    'GG_VALUE',
  ],
  [
    'a token twice',
    keyed({ 'tokenizer.ggml.model': ['string', 'gpt2'], 'tokenizer.ggml.tokens': [['string'], ['a', 'a']] }),
    'GG_TOKENIZER',
  ],
  [
    'words cut in another way',
    keyed({
      'tokenizer.ggml.model': ['string', 'gpt2'],
      'tokenizer.ggml.tokens': [['string'], ['a']],
      'tokenizer.ggml.pre': ['string', 'x'],
    }),
    'GG_TOKENIZER',
  ],
  [
    'scores for fewer tokens',
    keyed({
      'tokenizer.ggml.model': ['string', 'llama'],
      'tokenizer.ggml.tokens': [['string'], ['a', 'b']],
      'tokenizer.ggml.scores': [['f32'], [1]],
    }),
    'GG_VALUE',
  ],
  ['factors that are no floats', writeGguf(usualGguf, [table, { ...table, name: 'rope_freqs.weight' }]), 'GG_TENSOR'],
  ['another type of tensor', changedGguf(view => view.setUint32(typeAt, 13, true)), 'GG_TYPE'],
];
