// Four neighbours of a subgroup share a block of rows: each has a quarter of the inputs, and, once they have added up their
// parts, the sums of every fourth token. All four come to each of these functions; a workgroup is one quad.
//
// That neighbouring threads are neighbours in their subgroup was found out beforehand (src/gpu/features.rs).
enable subgroups;

const LANES: u32 = 4u;
const HELD: u32 = 1u; // groups of 32 inputs at a time: twice the code is more than caches hold
const OWN_TOKENS: u32 = TILE / 4u;
var<private> lane: u32;

fn own_block(workgroup: u32, local: u32) -> u32 {
    lane = local;
    return workgroup;
}
fn own_token(n: u32) -> u32 {
    return 4u * n + lane;
}
fn over_lanes(sum: f32) -> f32 {
    let two = sum + quadSwapX(sum);
    return two + quadSwapY(two);
}
// In lane n the sum of what the lanes have for token n.
fn across(sums: vec4<f32>) -> f32 {
    let odd = (lane & 1u) != 0u; // % is slow on software adapters
    let two = select(sums.xz, sums.yw, odd) + quadSwapX(select(sums.yw, sums.xz, odd));
    let upper = (lane & 2u) != 0u;
    return select(two.x, two.y, upper) + quadSwapY(select(two.y, two.x, upper));
}
