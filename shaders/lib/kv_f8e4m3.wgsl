// KV cache stored as fp8, four in a u32, with a scale for each row: four codes along headDim in one load.
// uses: e4m3
alias KvWord = u32;
fn unpack_kv(word: KvWord) -> vec4f { return unpack_e4m3(word); }
fn key_scales(rows: vec4u) -> vec4f { return vec4f(k_scales[rows.x], k_scales[rows.y], k_scales[rows.z], k_scales[rows.w]); }
fn value_scales(rows: vec4u) -> vec4f { return vec4f(v_scales[rows.x], v_scales[rows.y], v_scales[rows.z], v_scales[rows.w]); }
