// KV cache stored as f16, two in a u32: four along headDim in one load. Needs no feature.
alias KvWord = vec2u;
fn unpack_kv(word: KvWord) -> vec4f { return vec4f(unpack2x16float(word.x), unpack2x16float(word.y)); }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
