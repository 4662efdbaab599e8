// y = W x for an INT4 matrix W [out, in] with a scale for 32 inputs, for TILE tokens at once.
//
// A workgroup of ROWS * LANES = 256 threads owns ROWS output rows; LANES threads share a row and take its groups of 32 inputs
// in turn. The inputs pass through workgroup memory a block at a time. The including kernel imports staged and declares
//   weights: array<vec4<u32>>   a group of 32 nibbles is one vec4
//   words: array<u32>           the same buffer, for the f16 scales
// and input4(token_in_tile, i) -> inputs 4i .. 4i+3 of a token (already normalised, if need be).

// Sums over one row for each token of the tile, valid in the threads of lane 0. `weight` is the row's first group in
// `weights`, `scale` its first scale counted in halves. Every thread of the workgroup must come here (barriers).
fn linear(local: u32, weight: u32, scale: u32, inputs: u32) -> Sums {
    var sums = Sums();
    for (var start = 0u; start < inputs / 4u; start += STRIDE) {
        workgroupBarrier();
        let t = 2u * local / STRIDE;
        let i = start + 2u * local % STRIDE;
        var a = vec4<f32>();
        var b = vec4<f32>();
        if (t < TILE && i < inputs / 4u) {
            a = input4(t, i);
            b = input4(t, i + 1u);
        }
        keep(local, a, b);
        workgroupBarrier();
        let first = start / 8u;
        let groups = min(STRIDE / 8u, inputs / 32u - first);
        for (var group = local % LANES; group < groups; group += LANES) {
            let at = scale + first + group;
            sums += f16_to_f32(half_of(words[at >> 1u], at & 1u)) * group_dots(weights[weight + first + group], group * 8u);
        }
    }
    return add_lanes(local, LANES, sums);
}
