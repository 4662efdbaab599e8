// The dot products of a group of 32 weights with as many inputs of each token of the tile.
fn group_dot(group: vec4<u32>, x0: Inputs, x1: Inputs, x2: Inputs, x3: Inputs, x4: Inputs, x5: Inputs, x6: Inputs, x7: Inputs) -> Sums {
    let q = group ^ vec4<u32>(BIASED);
    return weigh(x0, nibbles_low(q.x)) + weigh(x1, nibbles_high(q.x))
        + weigh(x2, nibbles_low(q.y)) + weigh(x3, nibbles_high(q.y))
        + weigh(x4, nibbles_low(q.z)) + weigh(x5, nibbles_high(q.z))
        + weigh(x6, nibbles_low(q.w)) + weigh(x7, nibbles_high(q.w));
}
