// y = x W for an INT4 matrix W [in, out] with a scale for 32 outputs, by one thread, for TILE tokens at once.
//
// A thread passes over all inputs with the 32 outputs of a group, then with those of its next one.
// The including kernel declares
//   weights, scale_word(i), input4(token_in_tile, i)   as for rows.wgsl
//   INPUTS                                             inputs, a multiple of 32
//   OUTPUT_GROUPS                                      groups of 32 outputs in a row of W
//   OWN                                                groups that a thread has
//   own_group(n)                                       which its n-th one is in a row

var<private> columns: array<Sums, 32u * OWN>; // the outputs

// Those of the group under way, each 16^k times too large, k being its nibble's place in a word. Not variables of a function:
// SwiftShader blends those, lane by lane, in every round of a loop.
var<private> partial: array<Sums, 32>;
var<private> bias: Sums; // what the nibbles' bias of 8 has to be taken off by

// `weight`: the first group of the first input's row; `scale`: its scale, counted in halves.
fn sum_columns(weight: u32, scale: u32) {
    for (var n = 0u; n < OWN; n++) {
        for (var i = 0u; i < 32u; i++) {
            partial[i] = Sums();
        }
        bias = Sums();
        pass_over_inputs(weight + own_group(n), scale + own_group(n));
        for (var i = 0u; i < 8u; i++) {
            let low = i % 2u == 0u;
            let place = select(PLACE_HIGH, PLACE_LOW, low);
            let bias_place = select(BIAS_HIGH, BIAS_LOW, low);
            for (var j = 0u; j < 4u; j++) {
                columns[32u * n + 4u * i + j] = partial[4u * i + j] * place[j] + bias * bias_place[j];
            }
        }
    }
}

fn pass_over_inputs(weight: u32, scale: u32) {
    let half = half_factor(scale);
    var group = weight;
    var scale_at = scale;
    var scale_word_at = scale / 2u;
    for (var i = 0u; i < INPUTS / 4u; i++) {
        var scales: vec4<f32>;
        if (OUTPUT_GROUPS % 2u == 0u) { // then the scales stand in the same half of every row's word
            scales = four_halves(scale_word_at, OUTPUT_GROUPS / 2u, half);
        } else {
            scales = vec4<f32>(half_at(scale_at), half_at(scale_at + OUTPUT_GROUPS), half_at(scale_at + 2u * OUTPUT_GROUPS),
                half_at(scale_at + 3u * OUTPUT_GROUPS));
        }
        let x = placed(inputs(i), scales);
        let a = weights[group];
        let b = weights[group + OUTPUT_GROUPS];
        let c = weights[group + 2u * OUTPUT_GROUPS];
        let d = weights[group + 3u * OUTPUT_GROUPS];
        add_word(0u, x, vec4<u32>(a.x, b.x, c.x, d.x));
        add_word(8u, x, vec4<u32>(a.y, b.y, c.y, d.y));
        add_word(16u, x, vec4<u32>(a.z, b.z, c.z, d.z));
        add_word(24u, x, vec4<u32>(a.w, b.w, c.w, d.w));
        bias += weigh(x, vec4<f32>(1.0));
        group += 4u * OUTPUT_GROUPS;
        scale_at += 4u * OUTPUT_GROUPS;
        scale_word_at += 2u * OUTPUT_GROUPS;
    }
}

// Four inputs' parts of the eight outputs from `first` on: a word of each one's row.
fn add_word(first: u32, x: Inputs, word: vec4<u32>) {
    let q = word ^ vec4<u32>(BIASED);
    partial[first + 0u] += weigh(x, nibbles(q, 0xfu));
    partial[first + 1u] += weigh(x, nibbles(q, 0xf0u));
    partial[first + 2u] += weigh(x, nibbles(q, 0xf00u));
    partial[first + 3u] += weigh(x, nibbles(q, 0xf000u));
    partial[first + 4u] += weigh(x, nibbles(q, 0xf0000u));
    partial[first + 5u] += weigh(x, nibbles(q, 0xf00000u));
    partial[first + 6u] += weigh(x, nibbles(q, 0xf000000u));
    partial[first + 7u] += weigh(x, nibbles(q, 0xf0000000u));
}

// Outputs 4i .. 4i+3 of the n-th group, of one token.
fn columns_of_token(n: u32, i: u32, t: u32) -> vec4<f32> {
    let first = 32u * n + 4u * i;
    return vec4<f32>(of_token(columns[first], t), of_token(columns[first + 1u], t), of_token(columns[first + 2u], t),
        of_token(columns[first + 3u], t));
}
