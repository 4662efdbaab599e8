// y = W x for an INT4 matrix W [out, in] with a scale for 32 inputs, for TILE tokens at once (1 or 4).
//
// A workgroup of ROWS * LANES = 256 threads owns ROWS output rows; LANES threads share a row and take its groups of 32 inputs
// in turn. The inputs pass through workgroup memory a block at a time. The including kernel declares
//   weights: array<vec4<u32>>   a group of 32 nibbles is one vec4
//   words: array<u32>           the same buffer, for the f16 scales
// and input4(token_in_tile, i) -> inputs 4i .. 4i+3 of a token (already normalised, if need be).

const BLOCK: u32 = 1024u / TILE; // inputs staged at a time, per token
const BLOCK_GROUPS: u32 = BLOCK / 32u;

// The one large piece of workgroup memory (4 KiB), used in turn: staged inputs [TILE, BLOCK / 4]; one sum a thread;
// whatever the kernel does after.
var<workgroup> scratch: array<vec4<f32>, 256>;

// Dot products of a word's eight weights with the inputs at x, for each token of the tile.
fn word_dots(word: u32, x: u32) -> vec4<f32> {
    let low = int4_low(word);
    let high = int4_high(word);
    var dots = vec4<f32>(dot(low, scratch[x]) + dot(high, scratch[x + 1u]), 0.0, 0.0, 0.0);
    if (TILE == 4u) {
        let stride = BLOCK / 4u;
        dots.y = dot(low, scratch[x + stride]) + dot(high, scratch[x + stride + 1u]);
        dots.z = dot(low, scratch[x + 2u * stride]) + dot(high, scratch[x + 2u * stride + 1u]);
        dots.w = dot(low, scratch[x + 3u * stride]) + dot(high, scratch[x + 3u * stride + 1u]);
    }
    return dots;
}

// Sums over one row, a component for each token of the tile, valid in the threads of lane 0. `weight` is the row's first
// group in `weights`, `scale` its first scale counted in halves. Every thread of the workgroup must come here (barriers).
fn linear(local: u32, weight: u32, scale: u32, inputs: u32) -> vec4<f32> {
    let lane = local % LANES;
    var sum = vec4<f32>();
    for (var start = 0u; start < inputs; start += BLOCK) {
        workgroupBarrier();
        let column = start / 4u + local % (BLOCK / 4u);
        if (column < inputs / 4u) {
            scratch[local] = input4(local / (BLOCK / 4u), column);
        }
        workgroupBarrier();
        let first = start / 32u;
        let groups = min(BLOCK_GROUPS, inputs / 32u - first);
        for (var group = lane; group < groups; group += LANES) {
            let packed = weights[weight + first + group];
            let at = scale + first + group;
            let x = group * 8u;
            sum += f16_to_f32(half_of(words[at >> 1u], at & 1u))
                * (word_dots(packed.x, x) + word_dots(packed.y, x + 2u) + word_dots(packed.z, x + 4u)
                    + word_dots(packed.w, x + 6u));
        }
    }
    workgroupBarrier();
    scratch[local] = sum;
    workgroupBarrier();
    if (lane == 0u) {
        for (var other = 1u; other < LANES; other++) {
            sum += scratch[local + other];
        }
    }
    return sum;
}
