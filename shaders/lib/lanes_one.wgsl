// Lanes, one invocation per group: nothing to reduce and no barrier. The fastest way on processors (software adapters).
// Gives the entry point, which calls `run(group, lane)` of the kernel, and the lane_* functions.
// consts: WORKGROUP = 4
const LANES = 1u;
var<private> published: array<vec4f, PUBLISHED>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  run((workgroup.x + workgroup.y * workgroups.x) * WORKGROUP + local, 0u);
}

fn lane_sum(value: f32) -> f32 { return value; }
fn lane_sum4(value: vec4f) -> vec4f { return value; }
fn lane_max(value: f32) -> f32 { return value; }
fn lane_uniform(value: u32) -> u32 { return value; }
fn lane_publish(slot: u32, lane: u32, value: vec4f) { published[slot] = value; }
fn lane_sync() {}
fn lane_read(slot: u32, lane: u32) -> vec4f { return published[slot]; }
