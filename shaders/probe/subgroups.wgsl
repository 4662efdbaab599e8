// Compiles where the device has subgroups, and tells how a workgroup's threads lie in them.
enable subgroups;

@group(0) @binding(0) var<storage, read_write> found: array<vec2<u32>>; // [256] size of the subgroup, place in it

@compute @workgroup_size(256)
fn main(
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_size) size: u32,
    @builtin(subgroup_invocation_id) place: u32,
) {
    found[local] = vec2<u32>(size, place);
}
