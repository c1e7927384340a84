// KV cache stored as f32: four along headDim in one load.
alias KvWord = vec4f;
fn unpack_kv(word: KvWord) -> vec4f { return word; }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
