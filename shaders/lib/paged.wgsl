// Where a token's K and V lie: caches are [block][kvHead][slot][headDim]. This is the one place of the address formula.

/// Row (of headDim elements) of a position's KV head, from the position's block and its offset in the block.
fn cache_row(block: u32, kv_head: u32, offset: u32, kv_heads: u32, block_size: u32) -> u32 {
  return (block * kv_heads + kv_head) * block_size + offset;
}
