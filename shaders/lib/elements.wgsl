// The entry point of element-wise kernels: calls `run_element(index)` of the kernel for each index below `element_count()`.
// consts: WORKGROUP = 64
@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) workgroups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = (workgroup.x + workgroup.y * workgroups.x) * WORKGROUP + local;
  if (index < element_count()) { run_element(index); }
}
