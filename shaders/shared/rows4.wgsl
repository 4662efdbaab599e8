// y = W x for an INT4 matrix W [out, in] with a scale for 32 inputs, one thread a block of rows, for TILE tokens at once.
//
// A thread holds 32 inputs of four tokens and passes over its rows with them, then the next 32: inputs are read once a
// block of rows, and nothing waits for other threads. The including kernel imports group_dot and declares
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
    for (var group = 0u; group < groups; group++) {
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

        var at = weight + group * 4u;
        var scale_at = scale + group;
        for (var r = first; r < first + count; r++) {
            sums[r] += (bias + group_dot(at, x0, x1, x2, x3, x4, x5, x6, x7)) * half_at(scale_at);
            at += groups * 4u;
            scale_at += groups;
        }
    }
}
