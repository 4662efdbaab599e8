// What a thread holds while its rows pass by: 32 inputs of each token of the tile, and the sums of its rows.
// The including kernel declares MATRICES and ROWS, see rows.wgsl, and input4 as there.

alias Held = array<Inputs, 8>;

var<private> sums: array<Sums, MATRICES * ROWS>; // begins at zero

// Inputs 32 * group and on.
fn input_group(group: u32) -> Held {
    let i = group * 8u;
    return Held(inputs(i), inputs(i + 1u), inputs(i + 2u), inputs(i + 3u), inputs(i + 4u), inputs(i + 5u), inputs(i + 6u), inputs(i + 7u));
}
// As much smaller as the nibbles that they are multiplied with are too large where they stand.
fn in_place(x: Held) -> Held {
    return Held(placed(x[0], PLACE_LOW), placed(x[1], PLACE_HIGH), placed(x[2], PLACE_LOW), placed(x[3], PLACE_HIGH),
        placed(x[4], PLACE_LOW), placed(x[5], PLACE_HIGH), placed(x[6], PLACE_LOW), placed(x[7], PLACE_HIGH));
}
// What the nibbles' bias adds to the products with these inputs, to be added to them. `x` as input_group gives it.
fn bias_of(x: Held) -> Sums {
    return weigh(x[0], BIAS_LOW) + weigh(x[1], BIAS_HIGH) + weigh(x[2], BIAS_LOW) + weigh(x[3], BIAS_HIGH)
        + weigh(x[4], BIAS_LOW) + weigh(x[5], BIAS_HIGH) + weigh(x[6], BIAS_LOW) + weigh(x[7], BIAS_HIGH);
}
// The dot products of a group of 32 weights with as many inputs of each token, but for the bias. `x` as in_place gives it.
fn group_dot(group: vec4<u32>, x: Held) -> Sums {
    let q = group ^ vec4<u32>(BIASED);
    return weigh(x[0], nibbles_low(q.x)) + weigh(x[1], nibbles_high(q.x))
        + weigh(x[2], nibbles_low(q.y)) + weigh(x[3], nibbles_high(q.y))
        + weigh(x[4], nibbles_low(q.z)) + weigh(x[5], nibbles_high(q.z))
        + weigh(x[6], nibbles_low(q.w)) + weigh(x[7], nibbles_high(q.w));
}
