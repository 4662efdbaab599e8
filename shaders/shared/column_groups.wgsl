// What both ways through the columns of a matrix [in, out] share (columns1.wgsl, columns4.wgsl).

// The scales of four inputs, of a group of 32 outputs. `at`: the first one's, counted in halves; `word`, `half`: its word, and
// half_factor(at), which cost a division: so they are followed up.
fn scales_of_four(at: u32, word: u32, half: u32) -> vec4<f32> {
    if (OUT_GROUPS % 2u == 0u) { // then they stand in the same half of every row's word
        return four_halves(word, OUT_GROUPS / 2u, half);
    }
    return vec4<f32>(half_at(at), half_at(at + OUT_GROUPS), half_at(at + 2u * OUT_GROUPS), half_at(at + 3u * OUT_GROUPS));
}

// Outputs 4i .. 4i+3 of a group from sums of biased nibbles where they stand, and the sum of what they were multiplied by.
fn without_bias(sums: vec4<f32>, bias: f32, i: u32) -> vec4<f32> {
    let low = i % 2u == 0u;
    return sums * select(PLACE_HIGH, PLACE_LOW, low) + bias * select(BIAS_HIGH, BIAS_LOW, low);
}
