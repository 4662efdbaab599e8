// y = W x for INT4 matrices W [out, in] with a scale for 32 inputs, one thread a block of rows, for TILE tokens at once.
//
// A thread holds 64 inputs of every token and passes over its rows with them, then the next 64: inputs are read once a block
// of rows, and nothing waits for other threads. The including kernel imports group_dot and declares
//   weights: array<vec4<u32>, ...>  the buffer that the matrices are in, by groups of 32 weights
//   scale_word(i)                   word i of the buffer that their scales are in
//   WIDTH                           inputs of a row
//   ROWS                            rows a thread has of one matrix
//   MATRICES                        1, or 2 with the same inputs: their rows one behind the other in sums
//   input4(token_in_tile, i) ->     inputs 4i .. 4i+3 of a token (already normalised, if need be)

const GROUPS: u32 = WIDTH / 32u; // of a row
const PAIRED: bool = GROUPS % 2u == 0u; // then 64 inputs are always there, and both their scales in one word

var<private> sums: array<Sums, MATRICES * ROWS>;

// Past an odd row's last group there are no inputs, so what weights and scales are read there counts for nothing.
fn second_inputs(i: u32) -> Inputs {
    if (!PAIRED && i >= WIDTH / 4u) {
        return Inputs();
    }
    return inputs(i);
}

// `row`: the first of ROWS rows, past a matrix's last one of no meaning; `weight`: the matrices' first groups; `scale`: their
// first scales, counted in halves.
fn sum_rows(row: u32, weight: array<u32, MATRICES>, scale: array<u32, MATRICES>) {
    for (var r = 0u; r < MATRICES * ROWS; r++) {
        sums[r] = Sums();
    }
    for (var group = 0u; group < GROUPS; group += 2u) {
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

        var x8 = second_inputs(i + 8u);
        var x9 = second_inputs(i + 9u);
        var x10 = second_inputs(i + 10u);
        var x11 = second_inputs(i + 11u);
        var x12 = second_inputs(i + 12u);
        var x13 = second_inputs(i + 13u);
        var x14 = second_inputs(i + 14u);
        var x15 = second_inputs(i + 15u);
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

        for (var matrix = 0u; matrix < MATRICES; matrix++) {
            var at = weight[matrix] + row * GROUPS + group;
            var scale_at = scale[matrix] + row * GROUPS + group;
            var scale_word_at = scale_at / 2u;
            // As many rounds for all: a loop whose end is a constant is spared the browser's guard against endless ones.
            for (var r = 0u; r < ROWS; r++) {
                var scales: vec2<f32>;
                if (PAIRED) {
                    scales = both_halves(scale_word(scale_word_at));
                } else {
                    scales = vec2<f32>(half_at(scale_at), half_at(scale_at + 1u));
                }
                let dots = bias + group_dot(weights[at], x0, x1, x2, x3, x4, x5, x6, x7);
                let dots2 = bias2 + group_dot(weights[at + 1u], x8, x9, x10, x11, x12, x13, x14, x15);
                sums[matrix * ROWS + r] += dots * scales.x + dots2 * scales.y;
                at += GROUPS;
                scale_at += GROUPS;
                scale_word_at += GROUPS / 2u;
            }
        }
    }
}
