// IEEE halves and INT4 without shifts or conversions of u32, which software adapters run lane by lane.

// A half from its exponent and mantissa, in bits 13 to 27. Exact, subnormals too: read as a float of twice the half's value,
// or, where the exponent is 0, of 2^-14 more.
fn half_value(magnitude: u32, sign: u32) -> f32 {
    let doubled = bitcast<f32>(magnitude + 0x38800000u);
    let value = min(bitcast<i32>(0.5 * doubled), bitcast<i32>(doubled - 0x1p-14)); // both positive, so they compare as integers
    return bitcast<f32>(bitcast<u32>(value) | sign);
}
fn low_half(word: u32) -> f32 {
    return half_value((word & 0x7fffu) * 0x2000u, (word & 0x8000u) * 0x10000u);
}
fn high_half(word: u32) -> f32 {
    // Moved down as a float, whose lowest bits then are the half.
    let moved = bitcast<u32>(f32(bitcast<i32>(word & 0x7fff0000u)) * 0x1p-16 + 0x1.8p23);
    return half_value(moved * 0x2000u, word & 0x80000000u);
}
fn both_halves(word: u32) -> vec2<f32> {
    return vec2<f32>(low_half(word), high_half(word));
}

// Eight INT4 of a word `q`, where they stand: nibble k is 16^k times too large, and all but the highest are 8 too large
// once BIASED was xored. What multiplies them takes care of both.
const BIASED: u32 = 0x08888888u;
const PLACE_LOW: vec4<f32> = vec4<f32>(1.0, 0x1p-4, 0x1p-8, 0x1p-12);
const PLACE_HIGH: vec4<f32> = vec4<f32>(0x1p-16, 0x1p-20, 0x1p-24, 0x1p-28);
const BIAS_LOW: vec4<f32> = -8.0 / PLACE_LOW;
const BIAS_HIGH: vec4<f32> = vec4<f32>(-0x1p19, -0x1p23, -0x1p27, 0.0);

fn nibbles_low(q: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(q) & vec4<u32>(0xfu, 0xf0u, 0xf00u, 0xf000u)));
}
fn nibbles_high(q: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(q) & vec4<u32>(0xf0000u, 0xf00000u, 0xf000000u, 0xf0000000u)));
}

// Those of two words.
fn four_halves(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(both_halves(words.x), both_halves(words.y));
}
