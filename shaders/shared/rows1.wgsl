// y = W x for an INT4 matrix W [out, in] with a scale for 32 inputs, one thread a block of rows, for TILE tokens at once.
//
// A thread holds 64 inputs and passes over its rows with them, then the next 64: inputs are read once a block of rows,
// and nothing waits for other threads. The including kernel imports group_dot and declares
//   words: array<u32, ...>      the buffer that the matrix is in
//   scale_word(i)               word i of the buffer that its scales are in
//   ROWS                        rows a thread has, at most
//   input4(token_in_tile, i) -> inputs 4i .. 4i+3 of a token (already normalised, if need be)

var<private> sums: array<Sums, ROWS>;

// Rows `first ..+ count` of sums. `weight`: the matrix's first word for the first of these rows; `scale`: its first scale
// counted in halves; `width`: inputs a row.
fn sum_rows(first: u32, count: u32, weight: u32, scale: u32, width: u32) {
    for (var r = first; r < first + count; r++) {
        sums[r] = Sums();
    }
    let groups = width / 32u;
    let paired = groups % 2u == 0u; // then both scales of a block are in one word
    for (var group = 0u; group < groups; group += 2u) {
        let i = group * 8u;
        var x0 = inputs(i);
        var x1 = inputs(i + 1u);
        var x2 = inputs(i + 2u);
        var x3 = inputs(i + 3u);
        var x4 = inputs(i + 4u);
        var x5 = inputs(i + 5u);
        var x6 = inputs(i + 6u);
        var x7 = inputs(i + 7u);
        let bias = weigh(x0, BIAS_LOW) + weigh(x1, BIAS_HIGH) + weigh(x2, BIAS_LOW) + weigh(x3, BIAS_HIGH)
            + weigh(x4, BIAS_LOW) + weigh(x5, BIAS_HIGH) + weigh(x6, BIAS_LOW) + weigh(x7, BIAS_HIGH);
        x0 = placed(x0, PLACE_LOW);
        x1 = placed(x1, PLACE_HIGH);
        x2 = placed(x2, PLACE_LOW);
        x3 = placed(x3, PLACE_HIGH);
        x4 = placed(x4, PLACE_LOW);
        x5 = placed(x5, PLACE_HIGH);
        x6 = placed(x6, PLACE_LOW);
        x7 = placed(x7, PLACE_HIGH);

        // The second group of the block; in an odd matrix the last one has none.
        let second = select(0u, 8u, group + 1u < groups);
        var x8 = inputs(i + second);
        var x9 = inputs(i + second + 1u);
        var x10 = inputs(i + second + 2u);
        var x11 = inputs(i + second + 3u);
        var x12 = inputs(i + second + 4u);
        var x13 = inputs(i + second + 5u);
        var x14 = inputs(i + second + 6u);
        var x15 = inputs(i + second + 7u);
        let bias2 = weigh(x8, BIAS_LOW) + weigh(x9, BIAS_HIGH) + weigh(x10, BIAS_LOW) + weigh(x11, BIAS_HIGH)
            + weigh(x12, BIAS_LOW) + weigh(x13, BIAS_HIGH) + weigh(x14, BIAS_LOW) + weigh(x15, BIAS_HIGH);
        x8 = placed(x8, PLACE_LOW);
        x9 = placed(x9, PLACE_HIGH);
        x10 = placed(x10, PLACE_LOW);
        x11 = placed(x11, PLACE_HIGH);
        x12 = placed(x12, PLACE_LOW);
        x13 = placed(x13, PLACE_HIGH);
        x14 = placed(x14, PLACE_LOW);
        x15 = placed(x15, PLACE_HIGH);

        var at = weight + group * 4u;
        var scale_at = scale + group;
        for (var r = first; r < first + count; r++) {
            var scales: vec2<f32>;
            if (paired) {
                scales = both_halves(scale_word(scale_at / 2u));
            } else {
                scales = vec2<f32>(half_at(scale_at), select(0.0, half_at(scale_at + 1u), second != 0u));
            }
            let dots = bias + group_dot(at, x0, x1, x2, x3, x4, x5, x6, x7);
            let dots2 = bias2 + group_dot(at + second / 2u, x8, x9, x10, x11, x12, x13, x14, x15);
            sums[r] += dots * scales.x + dots2 * scales.y;
            at += groups * 4u;
            scale_at += groups;
        }
    }
}
