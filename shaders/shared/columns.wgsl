// y = x W for an INT4 matrix W [in, out] with a scale for 32 outputs, by one thread, for TILE tokens at once.
//
// A thread owns the 32 outputs of a group. The including kernel declares
//   weights, scale_word(i), input4(token_in_tile, i)   as for rows.wgsl
//   INPUTS                                             inputs, a multiple of 4
//   OUTPUT_GROUPS                                      groups of 32 outputs in a row of W

// The outputs so far, each 16^k times too large, k being its nibble's place in a word. Not variables of a function:
// SwiftShader blends those, lane by lane, in every round of a loop.
var<private> columns: array<Sums, 32>;
var<private> columns_bias: Sums; // what the nibbles' bias of 8 has to be taken off by

fn clear_columns() {
    for (var i = 0u; i < 32u; i++) {
        columns[i] = Sums();
    }
    columns_bias = Sums();
}

// Adds the inputs' parts. `weight`: the thread's group in the row of the first input; `scale`: its scale, counted in halves.
fn add_columns(weight: u32, scale: u32) {
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
        add_four(inputs(i), scales, group);
        group += 4u * OUTPUT_GROUPS;
        scale_at += 4u * OUTPUT_GROUPS;
        scale_word_at += 2u * OUTPUT_GROUPS;
    }
}

// Four inputs' parts: a group of each one's row, from `group` on.
fn add_four(x: Inputs, scales: vec4<f32>, group: u32) {
    let scaled = placed(x, scales);
    let a = weights[group];
    let b = weights[group + OUTPUT_GROUPS];
    let c = weights[group + 2u * OUTPUT_GROUPS];
    let d = weights[group + 3u * OUTPUT_GROUPS];
    let qx = vec4<u32>(a.x, b.x, c.x, d.x) ^ vec4<u32>(BIASED);
    columns[0] += weigh(scaled, nibbles(qx, 0xfu));
    columns[1] += weigh(scaled, nibbles(qx, 0xf0u));
    columns[2] += weigh(scaled, nibbles(qx, 0xf00u));
    columns[3] += weigh(scaled, nibbles(qx, 0xf000u));
    columns[4] += weigh(scaled, nibbles(qx, 0xf0000u));
    columns[5] += weigh(scaled, nibbles(qx, 0xf00000u));
    columns[6] += weigh(scaled, nibbles(qx, 0xf000000u));
    columns[7] += weigh(scaled, nibbles(qx, 0xf0000000u));
    let qy = vec4<u32>(a.y, b.y, c.y, d.y) ^ vec4<u32>(BIASED);
    columns[8] += weigh(scaled, nibbles(qy, 0xfu));
    columns[9] += weigh(scaled, nibbles(qy, 0xf0u));
    columns[10] += weigh(scaled, nibbles(qy, 0xf00u));
    columns[11] += weigh(scaled, nibbles(qy, 0xf000u));
    columns[12] += weigh(scaled, nibbles(qy, 0xf0000u));
    columns[13] += weigh(scaled, nibbles(qy, 0xf00000u));
    columns[14] += weigh(scaled, nibbles(qy, 0xf000000u));
    columns[15] += weigh(scaled, nibbles(qy, 0xf0000000u));
    let qz = vec4<u32>(a.z, b.z, c.z, d.z) ^ vec4<u32>(BIASED);
    columns[16] += weigh(scaled, nibbles(qz, 0xfu));
    columns[17] += weigh(scaled, nibbles(qz, 0xf0u));
    columns[18] += weigh(scaled, nibbles(qz, 0xf00u));
    columns[19] += weigh(scaled, nibbles(qz, 0xf000u));
    columns[20] += weigh(scaled, nibbles(qz, 0xf0000u));
    columns[21] += weigh(scaled, nibbles(qz, 0xf00000u));
    columns[22] += weigh(scaled, nibbles(qz, 0xf000000u));
    columns[23] += weigh(scaled, nibbles(qz, 0xf0000000u));
    let qw = vec4<u32>(a.w, b.w, c.w, d.w) ^ vec4<u32>(BIASED);
    columns[24] += weigh(scaled, nibbles(qw, 0xfu));
    columns[25] += weigh(scaled, nibbles(qw, 0xf0u));
    columns[26] += weigh(scaled, nibbles(qw, 0xf00u));
    columns[27] += weigh(scaled, nibbles(qw, 0xf000u));
    columns[28] += weigh(scaled, nibbles(qw, 0xf0000u));
    columns[29] += weigh(scaled, nibbles(qw, 0xf00000u));
    columns[30] += weigh(scaled, nibbles(qw, 0xf000000u));
    columns[31] += weigh(scaled, nibbles(qw, 0xf0000000u));
    columns_bias += weigh(scaled, vec4<f32>(1.0));
}

// Outputs 4i .. 4i+3 of the 32, of one token.
fn columns_of_token(i: u32, t: u32) -> vec4<f32> {
    let low = i % 2u == 0u;
    let sums = vec4<f32>(of_token(columns[4u * i], t), of_token(columns[4u * i + 1u], t), of_token(columns[4u * i + 2u], t),
        of_token(columns[4u * i + 3u], t));
    return sums * select(PLACE_HIGH, PLACE_LOW, low) + select(BIAS_HIGH, BIAS_LOW, low) * of_token(columns_bias, t);
}
