// Lanes, one workgroup per group, reduced through workgroup memory: for GPUs without subgroups, or with several sizes of them.
// Every lane adds the partial values in lane order, so the sum is the same in all lanes and in every run.
// Gives the entry point, which calls `run(group, lane)` of the kernel, and the lane_* functions.
// consts: LANES = 32
var<workgroup> published: array<vec4f, PUBLISHED * LANES>;
var<workgroup> partial: array<vec4f, LANES>;
var<workgroup> shared_u32: u32;
var<private> my_lane: u32;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  my_lane = lane;
  run(workgroup.x + workgroup.y * workgroups.x, lane);
}

fn lane_sum4(value: vec4f) -> vec4f {
  workgroupBarrier();
  partial[my_lane] = value;
  workgroupBarrier();
  var sum = partial[0];
  for (var i = 1u; i < LANES; i++) { sum += partial[i]; }
  return sum;
}
fn lane_sum(value: f32) -> f32 { return lane_sum4(vec4f(value, 0.0, 0.0, 0.0)).x; }
fn lane_max(value: f32) -> f32 {
  workgroupBarrier();
  partial[my_lane] = vec4f(value);
  workgroupBarrier();
  var result = partial[0].x;
  for (var i = 1u; i < LANES; i++) { result = max(result, partial[i].x); }
  return result;
}
fn lane_uniform(value: u32) -> u32 {
  workgroupBarrier();
  if (my_lane == 0u) { shared_u32 = value; }
  return workgroupUniformLoad(&shared_u32);
}
fn lane_publish(slot: u32, lane: u32, value: vec4f) { published[slot * LANES + lane] = value; }
fn lane_sync() { workgroupBarrier(); }
fn lane_read(slot: u32, lane: u32) -> vec4f { return published[slot * LANES + lane]; }
