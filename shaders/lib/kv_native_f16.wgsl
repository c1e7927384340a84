// KV cache stored as f16 and read as such: the same bytes as kv_f16.
// enables: f16
alias KvWord = vec4<f16>;
fn unpack_kv(word: KvWord) -> vec4f { return vec4f(word); }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(1.0); }
