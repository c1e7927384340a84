// KV cache stored as f16, two in a u32: four along headDim in one load. Needs no feature.
// uses: half
alias KvWord = vec2u;
fn unpack_kv(word: KvWord) -> vec4f { return vec4f(unpack2x16float(word.x), unpack2x16float(word.y)); }
fn pack_kv(value: vec4f) -> KvWord { return vec2u(pack_halves(value.x, value.y), pack_halves(value.z, value.w)); }
