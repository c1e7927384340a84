/**
 * The textbook formula of attention over pages, in plain WGSL: what somebody writes first. One workgroup of 64 for each query and head: scores
 * of all positions, their softmax, and the weighted sum of the values, with a barrier between. K and V lie as Quire's do, in f32.
 */
const WORKGROUP = 64;

export const textbook = ({ heads, kvHeads, headDim, blockSize, maxContext }) => `
struct Params { query_tokens: u32, context: u32, max_blocks: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> k_cache: array<f32>;
@group(0) @binding(2) var<storage, read> v_cache: array<f32>;
@group(0) @binding(3) var<storage, read> block_tables: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;
const HEADS = ${heads}u; const KV_HEADS = ${kvHeads}u; const HEAD_DIM = ${headDim}u; const BLOCK = ${blockSize}u;
var<workgroup> scores: array<f32, ${maxContext}>;
var<workgroup> partial: array<f32, ${WORKGROUP}>;

fn cached(sequence: u32, position: u32, head: u32) -> u32 {
  let block = block_tables[sequence * params.max_blocks + position / BLOCK];
  return ((block * KV_HEADS + head / (HEADS / KV_HEADS)) * BLOCK + position % BLOCK) * HEAD_DIM;
}

@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let token = group.x;
  let head = group.y;
  let sequence = token / params.query_tokens;
  let end = params.context - params.query_tokens + token % params.query_tokens + 1u;
  let query = token * (HEADS + 2u * KV_HEADS) * HEAD_DIM + head * HEAD_DIM;
  var largest = -3.0e38;
  for (var position = lane; position < end; position += ${WORKGROUP}u) {
    let key = cached(sequence, position, head);
    var score = 0.0;
    for (var d = 0u; d < HEAD_DIM; d++) { score += qkv[query + d] * k_cache[key + d]; }
    scores[position] = score * params.scale;
    largest = max(largest, scores[position]);
  }
  partial[lane] = largest;
  workgroupBarrier();
  for (var i = 0u; i < ${WORKGROUP}u; i++) { largest = max(largest, partial[i]); }
  workgroupBarrier();
  var sum = 0.0;
  for (var position = lane; position < end; position += ${WORKGROUP}u) {
    scores[position] = exp(scores[position] - largest);
    sum += scores[position];
  }
  partial[lane] = sum;
  workgroupBarrier();
  sum = 0.0;
  for (var i = 0u; i < ${WORKGROUP}u; i++) { sum += partial[i]; }
  for (var d = lane; d < HEAD_DIM; d += ${WORKGROUP}u) {
    var value = 0.0;
    for (var position = 0u; position < end; position++) {
      value += scores[position] * v_cache[cached(sequence, position, head) + d];
    }
    out[(token * HEADS + head) * HEAD_DIM + d] = value / sum;
  }
}`;

/** Compiles it on a device of Dawn. Gives { run(times), read(), end() }. */
export async function openTextbook(gpu, shape, scene, data) {
  const adapter = await gpu.requestAdapter();
  const { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupStorageSize } = adapter.limits;
  const requiredLimits = { maxStorageBufferBindingSize, maxBufferSize, maxComputeWorkgroupStorageSize };
  const device = await adapter.requestDevice({ requiredLimits });
  const module = device.createShaderModule({ code: textbook({ ...shape, maxContext: scene.context }) });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  const buffer = (bytes, usage) => device.createBuffer({ size: Math.max(16, bytes), usage });
  const filled = (array, usage = GPU_STORAGE) => {
    const made = buffer(array.byteLength, usage | GPU_COPY_DST);
    device.queue.writeBuffer(made, 0, array);
    return made;
  };
  const tokens = scene.sequences * scene.queryTokens;
  const outBytes = tokens * shape.heads * shape.headDim * 4;
  const out = buffer(outBytes, GPU_STORAGE | GPU_COPY_SRC);
  const params = new DataView(new ArrayBuffer(16));
  for (const [i, value] of [scene.queryTokens, scene.context, data.maxBlocks].entries())
    params.setUint32(4 * i, value, true);
  params.setFloat32(12, data.scale, true);
  const buffers = [filled(data.qkv), filled(data.k), filled(data.v), filled(data.blockTables), out];
  buffers.push(filled(params.buffer, GPU_UNIFORM));
  const entries = buffers.map((resource, binding) => ({ binding, resource: { buffer: resource } }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const run = async times => {
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let i = 0; i < times; i++) pass.dispatchWorkgroups(tokens, shape.heads);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
  };
  const read = async () => {
    const landing = buffer(outBytes, GPU_MAP_READ | GPU_COPY_DST);
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(out, 0, landing, 0, outBytes);
    device.queue.submit([encoder.finish()]);
    await landing.mapAsync(1);
    return new Float32Array(landing.getMappedRange().slice(0));
  };
  return { run, read, end: () => device.destroy() };
}

const [GPU_MAP_READ, GPU_COPY_SRC, GPU_COPY_DST, GPU_UNIFORM, GPU_STORAGE] = [0x1, 0x4, 0x8, 0x40, 0x80];
