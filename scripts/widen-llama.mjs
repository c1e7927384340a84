import { decodeFloats } from '../packages/core/dist/program/index.js';
import { MemorySource, openCheckpoint } from '../packages/core/dist/weights/index.js';

const UNIT = 128;

/**
 * The same function as a Llama with tied embeddings in a folder, with hidden size, query heads and MLP filled up with zeros to multiples of
 * 128: for formats whose groups are that wide. A norm over zeros too has a smaller mean square: its scale and its epsilon make up for that.
 */
export async function widenLlama(source) {
  const config = JSON.parse(Buffer.from(await source.read('config.json', 0, await source.size('config.json'))));
  const { hidden_size: hidden, num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: headDim } = config;
  const wide = { hidden: upTo(hidden), mlp: upTo(config.intermediate_size), group: heads / kvHeads };
  while ((kvHeads * wide.group * headDim) % UNIT !== 0) wide.group++;
  const columnsOfHeads = Array.from({ length: heads * headDim }, (_, at) => {
    const head = Math.floor(at / headDim);
    const group = Math.floor((head * kvHeads) / heads);
    return (group * wide.group + (head % (heads / kvHeads))) * headDim + (at % headDim);
  });
  const queries = { size: kvHeads * wide.group * headDim, at: i => columnsOfHeads[i] };
  const first = size => ({ size, at: i => i });
  const [h, m] = [first(wide.hidden), first(wide.mlp)];
  const checkpoint = await openCheckpoint(source);
  const tensors = {};
  for (const [name, tensor] of checkpoint.tensors) {
    const values = await valuesOf(checkpoint, tensor);
    const [rows] = tensor.shape;
    const kind = /(\w+?)(_proj)?\.weight$/.exec(name)[1];
    if (tensor.shape.length === 1) {
      const scale = Math.sqrt(hidden / wide.hidden);
      tensors[name] = {
        shape: [h.size],
        values: placed(
          values.map(value => value * scale),
          [1, rows],
          [first(1), h],
        ),
      };
      continue;
    }
    const places = { q: [queries, h], o: [h, queries], gate: [m, h], up: [m, h], down: [h, m] }[kind] ?? [
      first(rows),
      h,
    ];
    tensors[name] = { shape: places.map(({ size }) => size), values: placed(values, tensor.shape, places) };
  }
  const widened = {
    ...config,
    hidden_size: wide.hidden,
    intermediate_size: wide.mlp,
    num_attention_heads: kvHeads * wide.group,
    rms_norm_eps: (config.rms_norm_eps * hidden) / wide.hidden,
  };
  const files = { 'config.json': Buffer.from(JSON.stringify(widened)), 'model.safetensors': safetensors(tensors) };
  return new MemorySource(new Map(Object.entries(files)));
}

function upTo(size) {
  return Math.ceil(size / UNIT) * UNIT;
}

/** A matrix with its rows and columns at other places of a larger one of zeros. */
function placed(values, [rows, columns], [rowPlaces, columnPlaces]) {
  const out = new Float32Array(rowPlaces.size * columnPlaces.size);
  for (let row = 0; row < rows; row++) {
    const to = rowPlaces.at(row) * columnPlaces.size;
    for (let column = 0; column < columns; column++) out[to + columnPlaces.at(column)] = values[row * columns + column];
  }
  return out;
}

async function valuesOf(checkpoint, tensor) {
  const chunks = [];
  for await (const chunk of checkpoint.stream(tensor)) chunks.push(Buffer.from(chunk));
  const { buffer } = new Uint8Array(Buffer.concat(chunks));
  return decodeFloats(tensor.dtype, tensor.dtype === 'f32' ? new Float32Array(buffer) : new Uint16Array(buffer));
}

function safetensors(tensors) {
  let at = 0;
  const header = Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, values }]) => {
      const entry = { dtype: 'F32', shape, data_offsets: [at, at + values.byteLength] };
      at += values.byteLength;
      return [name, entry];
    }),
  );
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const data = Object.values(tensors).map(({ values }) => Buffer.from(values.buffer));
  return new Uint8Array(Buffer.concat([length, text, ...data]));
}
