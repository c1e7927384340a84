// KV cache stored as f32: four along headDim in one load.
alias KvWord = vec4f;
fn unpack_kv(word: KvWord) -> vec4f { return word; }
