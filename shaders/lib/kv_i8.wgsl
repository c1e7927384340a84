// KV cache stored as int8, four in a u32, with a scale for each row: four codes along headDim in one load.
alias KvWord = u32;
fn unpack_kv(word: KvWord) -> vec4f { return vec4f(unpack4xI8(word)); }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(k_scales[rows.x], k_scales[rows.y], k_scales[rows.z], k_scales[rows.w]); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(v_scales[rows.x], v_scales[rows.y], v_scales[rows.z], v_scales[rows.w]); }
