// The dot products of a group of 32 weights, from word `at` on, with as many inputs of each token of the tile.
fn group_dot(at: u32, x0: Inputs, x1: Inputs, x2: Inputs, x3: Inputs, x4: Inputs, x5: Inputs, x6: Inputs, x7: Inputs) -> Sums {
    let q0 = words[at] ^ BIASED;
    let q1 = words[at + 1u] ^ BIASED;
    let q2 = words[at + 2u] ^ BIASED;
    let q3 = words[at + 3u] ^ BIASED;
    return weigh(x0, nibbles_low(q0)) + weigh(x1, nibbles_high(q0))
        + weigh(x2, nibbles_low(q1)) + weigh(x3, nibbles_high(q1))
        + weigh(x4, nibbles_low(q2)) + weigh(x5, nibbles_high(q2))
        + weigh(x6, nibbles_low(q3)) + weigh(x7, nibbles_high(q3));
}
