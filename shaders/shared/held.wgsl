// What a thread holds while its rows pass by: 32 inputs of each token of the tile, and the sums of its rows.
// The including kernel declares MATRICES and ROWS, see rows.wgsl, and input4 as there, and imports tile and own.

alias Held = array<Inputs, 8>;

var<private> sums: array<Own, MATRICES * ROWS>; // begins at zero

// Inputs 32 * group and on, as much smaller as the nibbles that they are multiplied with are too large where they stand.
fn input_group(group: u32) -> Held {
    let i = group * 8u;
    return Held(placed(inputs(i), PLACE_LOW), placed(inputs(i + 1u), PLACE_HIGH),
        placed(inputs(i + 2u), PLACE_LOW), placed(inputs(i + 3u), PLACE_HIGH),
        placed(inputs(i + 4u), PLACE_LOW), placed(inputs(i + 5u), PLACE_HIGH),
        placed(inputs(i + 6u), PLACE_LOW), placed(inputs(i + 7u), PLACE_HIGH));
}
// What the nibbles' bias adds to the products with these inputs, to be added to them.
fn bias_of(x: Held) -> Sums {
    return weigh(x[0], BIAS_LOW) + weigh(x[1], BIAS_HIGH) + weigh(x[2], BIAS_LOW) + weigh(x[3], BIAS_HIGH)
        + weigh(x[4], BIAS_LOW) + weigh(x[5], BIAS_HIGH) + weigh(x[6], BIAS_LOW) + weigh(x[7], BIAS_HIGH);
}
// The dot products of a group of 32 weights with as many inputs of each token, but for the bias.
fn group_dot(group: vec4<u32>, x: Held) -> Sums {
    let q = group ^ vec4<u32>(BIASED);
    return weigh(x[0], nibbles_low(q.x)) + weigh(x[1], nibbles_high(q.x))
        + weigh(x[2], nibbles_low(q.y)) + weigh(x[3], nibbles_high(q.y))
        + weigh(x[4], nibbles_low(q.z)) + weigh(x[5], nibbles_high(q.z))
        + weigh(x[6], nibbles_low(q.w)) + weigh(x[7], nibbles_high(q.w));
}
