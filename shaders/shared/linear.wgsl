// y = W x for an INT4 matrix W [out, in] with a scale for 32 inputs, for TILE tokens at once.
//
// A workgroup of ROWS * LANES threads owns ROWS output rows; LANES threads share a row and take its groups of 32 inputs
// in turn. The inputs pass through workgroup memory a block at a time. The including kernel declares
//   weights: array<vec4<u32>>   a group of 32 nibbles is one vec4
//   words: array<u32>           the same buffer, for the f16 scales
// and input4(token_in_tile, i) -> inputs 4i .. 4i+3 of a token (already normalised, if need be).

const BLOCK: u32 = 1024u / TILE; // inputs staged at a time, per token
const BLOCK_GROUPS: u32 = BLOCK / 32u;

var<workgroup> staged: array<vec4<f32>, 256>; // [TILE, BLOCK / 4]
var<workgroup> partial: array<array<f32, TILE>, ROWS * LANES>;

// Sums over one row, for each token of the tile, valid in the threads of lane 0. `weight` is the row's first group in
// `weights`, `scale` its first scale counted in halves. Every thread of the workgroup must come here (barriers).
fn linear(local: u32, weight: u32, scale: u32, inputs: u32) -> array<f32, TILE> {
    let lane = local % LANES;
    var sum: array<f32, TILE>;
    for (var start = 0u; start < inputs; start += BLOCK) {
        workgroupBarrier();
        for (var i = local; i < 256u; i += ROWS * LANES) {
            let column = start / 4u + i % (BLOCK / 4u);
            if (column < inputs / 4u) {
                staged[i] = input4(i / (BLOCK / 4u), column);
            }
        }
        workgroupBarrier();
        let first = start / 32u;
        let groups = min(BLOCK_GROUPS, inputs / 32u - first);
        for (var group = lane; group < groups; group += LANES) {
            let packed = weights[weight + first + group];
            let at = scale + first + group;
            let s = f16_to_f32(half_of(words[at >> 1u], at & 1u));
            var dots: array<f32, TILE>;
            for (var word = 0u; word < 4u; word++) {
                let low = int4_low(packed[word]);
                let high = int4_high(packed[word]);
                for (var t = 0u; t < TILE; t++) {
                    let x = t * (BLOCK / 4u) + group * 8u + word * 2u;
                    dots[t] += dot(low, staged[x]) + dot(high, staged[x + 1u]);
                }
            }
            for (var t = 0u; t < TILE; t++) {
                sum[t] += s * dots[t];
            }
        }
    }
    partial[local] = sum;
    workgroupBarrier();
    if (lane == 0u) {
        for (var other = 1u; other < LANES; other++) {
            for (var t = 0u; t < TILE; t++) {
                sum[t] += partial[local + other][t];
            }
        }
    }
    return sum;
}
