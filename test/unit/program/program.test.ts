import { DeviceError, type DTypeTable, type Op } from '@quire/core/contract';
import {
  assertOffered,
  elementCount,
  offers,
  opAccess,
  opNames,
  opStem,
  ProgramBuilder,
  printProgram,
  resolveShape,
} from '@quire/core/program';
import { openReferenceDevice } from '@quire/core/reference';
import { describe, expect, it } from 'vitest';

const maxSizes = {
  tokens: 16,
  sequences: 4,
  decodeSequences: 4,
  samples: 4,
  blocksPerSequence: 2,
  maxQueryTokens: 16,
  deltaSegments: 0,
};

function smallProgram() {
  const builder = new ProgramBuilder('small', maxSizes);
  const [ids, positions] = [
    builder.external('ids', 'u32', ['tokens']),
    builder.external('positions', 'u32', ['tokens']),
  ];
  const [embedding, weight] = [
    builder.external('embed.weight', 'f16', [10, 8]),
    builder.external('qkv.weight', 'f16', [16, 8]),
  ];
  const table = builder.external('ropeTable', 'f32', [32, 4]);
  const [hidden, qkv] = [
    builder.temporary('hidden', 'f32', ['tokens', 8]),
    builder.temporary('qkv', 'f32', ['tokens', 16]),
  ];
  builder.add({ op: 'embed', ids, table: embedding, out: hidden, offset: 0, firstRow: 0 });
  builder.add({ op: 'linear', x: hidden, weight, out: qkv, activation: 'none', outColumn: 0 });
  builder.add({
    op: 'rope',
    qkv,
    positions,
    table,
    heads: 2,
    kvHeads: 1,
    headDim: 4,
    rotaryDim: 4,
    interleaved: false,
  });
  builder.add({ op: 'add', a: hidden, b: hidden, out: builder.temporary('doubled', 'f32', ['tokens', 8]) });
  builder.add({ op: 'add', a: 'doubled', b: hidden, out: 'doubled' });
  return builder.build();
}

describe('printProgram', () => {
  it('prints tensors and one line per op', () => {
    expect(printProgram(smallProgram())).toMatchInlineSnapshot(`
      "program small (tokens <= 16, sequences <= 4, decodeSequences <= 4, samples <= 4, blocksPerSequence <= 2, maxQueryTokens <= 16)

      externals
        ids           u32 [tokens]
        positions     u32 [tokens]
        embed.weight  f16 [10, 8]
        qkv.weight    f16 [16, 8]
        ropeTable     f32 [32, 4]

      temporaries
        hidden   f32 [tokens, 8]
        qkv      f32 [tokens, 16]
        doubled  f32 [tokens, 8]

      ops
        0  embed ids=ids table=embed.weight -> out=hidden offset:0 firstRow:0
        1  linear x=hidden weight=qkv.weight -> out=qkv activation:none outColumn:0
        2  rope positions=positions table=ropeTable -> qkv=&qkv heads:2 kvHeads:1 headDim:4 rotaryDim:4 interleaved:false
        3  add a=hidden b=hidden -> out=doubled
        4  add a=doubled b=hidden -> out=&doubled
      "
    `);
  });
});

describe('opAccess', () => {
  it('lists each tensor once, and one that is changed in place on both sides', () => {
    expect(smallProgram().ops.map(opAccess)).toEqual([
      { reads: ['ids', 'embed.weight'], writes: ['hidden'] },
      { reads: ['hidden', 'qkv.weight'], writes: ['qkv'] },
      { reads: ['qkv', 'positions', 'ropeTable'], writes: ['qkv'] },
      { reads: ['hidden'], writes: ['doubled'] },
      { reads: ['doubled', 'hidden'], writes: ['doubled'] },
    ]);
  });
});

describe('shapes', () => {
  it('take sizes of the step', () => {
    const sizes = { ...maxSizes, tokens: 3 };
    expect(resolveShape(['tokens', 8], sizes)).toEqual([3, 8]);
    expect(elementCount(['tokens', 8], sizes)).toBe(24);
    expect(elementCount(['deltaSegments'], sizes)).toBe(0);
  });
});

describe('op names', () => {
  it('have stems', () => {
    expect(opNames.map(opStem)).toEqual(
      expect.arrayContaining(['rms_norm', 'paged_attention', 'add', 'kv_write', 'log_probs']),
    );
    expect(new Set(opNames).size).toBe(opNames.length);
  });
});

describe('offers', () => {
  const program = smallProgram();
  const [embed, linear, rope] = program.ops as [Op, Op, Op];

  async function tableWith(change: Partial<DTypeTable>): Promise<DTypeTable> {
    const device = await openReferenceDevice();
    await device.dispose();
    return { ...device.info.dtypes, ...change };
  }

  it('says yes for what is in the table', async () => {
    const table = await tableWith({});
    expect(program.ops.map(op => offers(table, op, program))).toEqual(program.ops.map(() => true));
  });

  it('names the list, the dtype and the tensor, or the reason', async () => {
    const table = await tableWith({
      embed: { activations: ['f32'], weights: ['f32', 'bf16'] },
      linear: { activations: ['f32'] },
      rope: { unsupported: 'no such kernel yet' },
    });
    expect(offers(table, embed, program)).toBe(
      'embed does not offer weights in f16 (table "embed.weight"); it offers f32, bf16',
    );
    expect(offers(table, linear, program)).toBe(
      'linear does not offer weights in f16 (weight "qkv.weight"); it offers none',
    );
    expect(offers(table, rope, program)).toBe('rope is not offered: no such kernel yet');
  });

  it('stops a compile with a DeviceError that names the op', async () => {
    const device = await openReferenceDevice();
    const info = { ...device.info, dtypes: await tableWith({ rope: { unsupported: 'no such kernel yet' } }) };
    await device.dispose();
    const attempt = () => assertOffered(info, program);
    expect(attempt).toThrow('program small, op 2, device reference: rope is not offered: no such kernel yet.');
    expect(attempt).toThrow(DeviceError);
    expect(attempt).toThrow(expect.objectContaining({ op: 'rope' }));
  });
});

describe('the dtype table of the reference device', () => {
  it('is pinned', async () => {
    const device = await openReferenceDevice();
    const table = Object.entries(device.info.dtypes).map(([op, entry]) => `${op}: ${JSON.stringify(entry)}`);
    await device.dispose();
    expect(table.join('\n')).toMatchInlineSnapshot(`
      "applyRowDelta: {}
      prepareInputs: {}
      prepareSamples: {}
      advanceRows: {}
      embed: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16","q8","q4_32","q4_128","q4_32z","q4_128z"]}
      vocabParallelEmbed: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16","q8","q4_32","q4_128","q4_32z","q4_128z"]}
      rmsNorm: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16"]}
      layerNorm: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16"]}
      linear: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16","q8","q4_32","q4_128","q4_32z","q4_128z"]}
      gatedLinear: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16","q8","q4_32","q4_128","q4_32z","q4_128z"]}
      moeRoute: {}
      groupedLinear: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16","q8","q4_32","q4_128","q4_32z","q4_128z"]}
      prepareAdapters: {}
      loraLinear: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16"]}
      rope: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16"]}
      kvWrite: {"activations":["f32","f16","bf16"],"kv":["f32","f16","bf16","i8","f8e4m3"]}
      ropeKvWrite: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16"],"kv":["f32","f16","bf16","i8","f8e4m3"]}
      pagedAttention: {"activations":["f32","f16","bf16"],"kv":["f32","f16","bf16","i8","f8e4m3"]}
      gatedActivation: {"activations":["f32","f16","bf16"]}
      add: {"activations":["f32","f16","bf16"]}
      allReduce: {"activations":["f32","f16","bf16"]}
      allGather: {"activations":["f32","f16","bf16"]}
      send: {"activations":["f32","f16","bf16"]}
      recv: {"activations":["f32","f16","bf16"]}
      broadcast: {}
      scale: {"activations":["f32","f16","bf16"]}
      normColumns: {"activations":["f32","f16","bf16"],"weights":["f32","f16","bf16"]}
      pool: {"activations":["f32","f16","bf16"]}
      gatherRows: {"activations":["f32","f16","bf16"]}
      copyBlocks: {"kv":["f32","f16","bf16","i8","f8e4m3"]}
      zeroBlocks: {"kv":["f32","f16","bf16","i8","f8e4m3"]}
      penalties: {}
      biasLogits: {}
      maskLogits: {}
      filterLogits: {}
      sample: {}
      argmax: {}
      logProbs: {}"
    `);
  });
});
