// y = W x for INT4 matrices W [out, in] with a scale for 32 inputs, LANES threads a block of rows, for TILE tokens at once.
//
// A thread holds HELD groups of 32 inputs of every token and passes over its rows with them, then the next: inputs are read once
// a block of rows, and nothing waits for other threads. The including kernel imports held and declares
//   weights: array<vec4<u32>, ...>  the buffer that the matrices are in, by groups of 32 weights
//   scale_word(i)                   word i of the buffer that their scales are in
//   WIDTH                           inputs of a row
//   ROWS                            rows of one matrix in a block
//   MATRICES                        how many, with the same inputs: their rows one behind the other in sums
//   input4(token_in_tile, i) ->     inputs 4i .. 4i+3 of a token (already normalised, if need be)

const GROUPS: u32 = WIDTH / 32u; // of a row
const EVEN: bool = GROUPS % 2u == 0u; // then the scales of groups 2i and 2i + 1 are in one word

// Past a row's last group there are no inputs, so what weights and scales are read there counts for nothing.
fn group_or_none(group: u32) -> Held {
    if (GROUPS % (HELD * LANES) != 0u && group >= GROUPS) {
        return Held();
    }
    return input_group(group);
}
fn second_group(group: u32) -> Held {
    if (HELD == 1u) {
        return Held();
    }
    return group_or_none(group + 1u);
}

// Adds W x to sums. `row`: the first of ROWS rows, past a matrix's last one of no meaning; `weight`: the matrices' first
// groups; `scale`: their first scales, counted in halves.
fn add_rows(row: u32, weight: array<u32, MATRICES>, scale: array<u32, MATRICES>) {
    for (var first = 0u; first < GROUPS; first += HELD * LANES) {
        let group = first + HELD * lane;
        let x = group_or_none(group);
        let x2 = second_group(group);
        let bias = bias_of(x);
        let bias2 = bias_of(x2);
        for (var matrix = 0u; matrix < MATRICES; matrix++) {
            var at = weight[matrix] + row * GROUPS + group;
            var scale_at = scale[matrix] + row * GROUPS + group;
            var scale_word_at = scale_at / 2u;
            let to_upper = place_upper(scale_at);
            // As many rounds for all: a loop whose end is a constant is spared the browser's guard against endless ones.
            for (var r = 0u; r < ROWS; r++) {
                let dots = bias + group_dot(weights[at], x);
                var sum: Sums;
                if (HELD == 2u) {
                    var scales: vec2<f32>;
                    if (EVEN) {
                        scales = both_halves(scale_word(scale_word_at));
                    } else {
                        scales = vec2<f32>(half_at(scale_at), half_at(scale_at + 1u));
                    }
                    sum = dots * scales.x + (bias2 + group_dot(weights[at + 1u], x2)) * scales.y;
                } else if (EVEN) {
                    sum = dots * high_half(to_upper * scale_word(scale_word_at));
                } else {
                    sum = dots * half_at(scale_at);
                }
                sums[matrix * ROWS + r] += own(sum);
                at += GROUPS;
                scale_at += GROUPS;
                scale_word_at += GROUPS / 2u;
            }
        }
    }
}

// Scale `i`.
fn half_at(i: u32) -> f32 {
    return high_half(place_upper(i) * scale_word(i / 2u));
}
// What brings half `i` of many to the upper side of its word.
fn place_upper(i: u32) -> u32 {
    return select(0x10000u, 1u, i % 2u == 1u);
}
