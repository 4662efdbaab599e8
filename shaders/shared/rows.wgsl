// y = W x for INT4 matrices W [out, in] with a scale for 32 inputs, one thread a block of rows, for TILE tokens at once.
//
// A thread holds 64 inputs of every token and passes over its rows with them, then the next 64: inputs are read once a block
// of rows, and nothing waits for other threads. The including kernel imports held and declares
//   weights: array<vec4<u32>, ...>  the buffer that the matrices are in, by groups of 32 weights
//   scale_word(i)                   word i of the buffer that their scales are in
//   WIDTH                           inputs of a row
//   ROWS                            rows a thread has of one matrix
//   MATRICES                        how many, with the same inputs: their rows one behind the other in sums
//   input4(token_in_tile, i) ->     inputs 4i .. 4i+3 of a token (already normalised, if need be)

const GROUPS: u32 = WIDTH / 32u; // of a row
const PAIRED: bool = GROUPS % 2u == 0u; // then 64 inputs are always there, and both their scales in one word

// Past an odd row's last group there are no inputs, so what weights and scales are read there counts for nothing.
fn second_group(group: u32) -> Held {
    if (!PAIRED && group >= GROUPS) {
        return Held();
    }
    return input_group(group);
}

// Adds W x to sums. `row`: the first of ROWS rows, past a matrix's last one of no meaning; `weight`: the matrices' first
// groups; `scale`: their first scales, counted in halves.
fn add_rows(row: u32, weight: array<u32, MATRICES>, scale: array<u32, MATRICES>) {
    for (var group = 0u; group < GROUPS; group += 2u) {
        let inputs = input_group(group);
        let inputs2 = second_group(group + 1u);
        let bias = bias_of(inputs);
        let bias2 = bias_of(inputs2);
        let x = in_place(inputs);
        let x2 = in_place(inputs2);
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
                let dots = bias + group_dot(weights[at], x);
                let dots2 = bias2 + group_dot(weights[at + 1u], x2);
                sums[matrix * ROWS + r] += dots * scales.x + dots2 * scales.y;
                at += GROUPS;
                scale_at += GROUPS;
                scale_word_at += GROUPS / 2u;
            }
        }
    }
}

// Scale `i`.
fn half_at(i: u32) -> f32 {
    return high_half(select(0x10000u, 1u, i % 2u == 1u) * scale_word(i / 2u));
}
