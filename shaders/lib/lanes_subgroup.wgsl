// Lanes, one subgroup per group, alone in its workgroup. LANES is the adapter's subgroup size, where it has only one.
// Gives the entry point, which calls `run(group, lane)` of the kernel, and the lane_* functions.
// What lane_uniform gives is uniform, but the analysis of WGSL does not follow values from memory through a broadcast.
// enables: subgroups
// directive: diagnostic(off, subgroup_uniformity)
// consts: LANES = 32
var<private> published: array<vec4f, PUBLISHED>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  run(workgroup.x + workgroup.y * workgroups.x, lane);
}

fn lane_sum(value: f32) -> f32 { return subgroupAdd(value); }
fn lane_sum4(value: vec4f) -> vec4f { return subgroupAdd(value); }
fn lane_max(value: f32) -> f32 { return subgroupMax(value); }
fn lane_uniform(value: u32) -> u32 { return subgroupBroadcastFirst(value); }
fn lane_publish(slot: u32, lane: u32, value: vec4f) { published[slot] = value; }
fn lane_sync() {}
fn lane_read(slot: u32, lane: u32) -> vec4f { return subgroupShuffle(published[slot], lane); }
