// Inputs of TILE tokens on their way through workgroup memory, and the sums over threads after. A workgroup has 256 threads.
//
// Kept are KEPT times four inputs: of each token STRIDE, one token behind the other. 32 inputs in a row are a block; how they
// are kept, and multiplied with weights, tells inputs_NAME.wgsl:
//   keep(local, a, b)           from every thread: eight inputs as numbers 2 local and 2 local + 1 of what is kept
//   group_dots(packed, x)       sums of 32 weights' products with the block that begins at x, for each token
//   add_outer(sum, rows_of(q), x)  adds four rows, of which q has a word each, times the inputs kept at x
//   ROW_STEP, first_input(i)    which four inputs are kept at i: first_input(i) + j * ROW_STEP
// What differs by the number of tokens is in tokensTILE.wgsl, by how threads add up in lanes_NAME.wgsl.

const KEPT: u32 = 256u * ((TILE + 3u) / 4u);
const STRIDE: u32 = KEPT / TILE;

// The large piece of workgroup memory (4 KiB, 8 for 8 tokens), used in turn: inputs; one sum a thread; whatever a kernel does
// after.
var<workgroup> scratch: array<vec4<f32>, KEPT>;

#import inputs
#import tokens
#import lanes

fn largest_of(a: vec4<f32>, b: vec4<f32>) -> f32 {
    let largest = max(abs(a), abs(b));
    return max(max(largest.x, largest.y), max(largest.z, largest.w));
}
// What one step of INT8 is worth where this is the largest value; never 0, so that it can be divided by.
fn int8_scale(largest: f32) -> f32 {
    return max(largest, 1e-30) / 127.0;
}
