// y = x W for an INT4 matrix W [in, out] with a scale for 32 outputs, by one thread, for one token.
//
// A thread passes over all inputs with the 32 outputs of a group, then with those of its next one. The including kernel
// imports block and declares
//   weights, scale_word(i)    as for rows.wgsl
//   input4(block, q)          inputs 32 * block + 4q .. + 4
//   IN                        inputs, a multiple of 32
//   OUT_GROUPS                groups of 32 outputs in a row of W
//   OWN                       groups that a thread has
//   own_group(n)              which its n-th one is in a row

var<private> columns: array<Block, OWN>; // the outputs

// Those of the group under way, each 16^k times too large, k being its nibble's place in a word. Not variables of a function:
// SwiftShader blends those, lane by lane, in every round of a loop.
var<private> partial: array<f32, 32>;
var<private> bias: f32; // what the nibbles' bias of 8 has to be taken off by

// `count`: 1. `weight`: the first group of the first input's row; `scale`: its scale, counted in halves.
fn sum_columns(count: u32, weight: u32, scale: u32) {
    for (var n = 0u; n < OWN; n++) {
        for (var i = 0u; i < 32u; i++) {
            partial[i] = 0.0;
        }
        bias = 0.0;
        pass_over_inputs(weight + own_group(n), scale + own_group(n));
        for (var i = 0u; i < 8u; i++) {
            let sums = vec4<f32>(partial[4u * i], partial[4u * i + 1u], partial[4u * i + 2u], partial[4u * i + 3u]);
            columns[n][i] = without_bias(sums, bias, i);
        }
    }
}

// Outputs 4i .. 4i+3 of the n-th group.
fn columns_of(n: u32, entry: u32, i: u32) -> vec4<f32> {
    return columns[n][i];
}

fn pass_over_inputs(weight: u32, scale: u32) {
    var group = weight;
    var scale_at = scale;
    var scale_word_at = scale / 2u;
    let half = half_factor(scale);
    for (var block = 0u; block < IN / 32u; block++) {
        for (var q = 0u; q < 8u; q++) {
            let x = input4(block, q) * scales_of_four(scale_at, scale_word_at, half);
            let a = weights[group];
            let b = weights[group + OUT_GROUPS];
            let c = weights[group + 2u * OUT_GROUPS];
            let d = weights[group + 3u * OUT_GROUPS];
            add_word(0u, x, vec4<u32>(a.x, b.x, c.x, d.x));
            add_word(8u, x, vec4<u32>(a.y, b.y, c.y, d.y));
            add_word(16u, x, vec4<u32>(a.z, b.z, c.z, d.z));
            add_word(24u, x, vec4<u32>(a.w, b.w, c.w, d.w));
            bias += dot(x, vec4<f32>(1.0));
            group += 4u * OUT_GROUPS;
            scale_at += 4u * OUT_GROUPS;
            scale_word_at += 2u * OUT_GROUPS;
        }
    }
}

// Four inputs' parts of the eight outputs from `first` on: a word of each one's row.
fn add_word(first: u32, x: vec4<f32>, word: vec4<u32>) {
    let q = word ^ vec4<u32>(BIASED);
    partial[first + 0u] += dot(x, nibbles(q, 0xfu));
    partial[first + 1u] += dot(x, nibbles(q, 0xf0u));
    partial[first + 2u] += dot(x, nibbles(q, 0xf00u));
    partial[first + 3u] += dot(x, nibbles(q, 0xf000u));
    partial[first + 4u] += dot(x, nibbles(q, 0xf0000u));
    partial[first + 5u] += dot(x, nibbles(q, 0xf00000u));
    partial[first + 6u] += dot(x, nibbles(q, 0xf000000u));
    partial[first + 7u] += dot(x, nibbles(q, 0xf0000000u));
}
