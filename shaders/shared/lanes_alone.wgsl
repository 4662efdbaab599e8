// A thread has its block of rows for itself: all inputs of them, and the sums of every token.

const LANES: u32 = 1u;
const HELD: u32 = 2u; // groups of 32 inputs at a time
const OWN_TOKENS: u32 = TILE;
const lane: u32 = 0u;

// Which block a thread has.
fn own_block(workgroup: u32, local: u32) -> u32 {
    return workgroup * SMALL_WORKGROUP + local;
}
// The n-th of the tokens whose sums the thread has.
fn own_token(n: u32) -> u32 {
    return n;
}
fn over_lanes(sum: f32) -> f32 {
    return sum;
}
