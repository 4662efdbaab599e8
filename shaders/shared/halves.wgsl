// IEEE halves and INT4 without shifts or conversions of u32, which software adapters run lane by lane.

// The half in the high 16 bits of a word. Exact, subnormals too: a smaller exponent bias, then 2^-14 off.
fn high_half(word: u32) -> f32 {
    let magnitude = bitcast<u32>(bitcast<i32>(word & 0x7fff0000u) >> 3u);
    let normal = bitcast<f32>(magnitude + 0x38000000u);
    let subnormal = bitcast<f32>(magnitude + 0x38800000u) - 0x1p-14;
    let value = select(normal, subnormal, magnitude < 0x00800000u);
    return bitcast<f32>(bitcast<u32>(value) | (word & 0x80000000u));
}
fn low_half(word: u32) -> f32 {
    return high_half(word * 0x10000u);
}
fn both_halves(word: u32) -> vec2<f32> {
    return vec2<f32>(low_half(word), high_half(word));
}

// Eight INT4 of a word `q`, where they stand: nibble k is 16^k times too large, and all but the highest are 8 too large
// once BIASED was xored. What multiplies them takes care of both.
const BIASED: u32 = 0x08888888u;
const PLACE_LOW: vec4<f32> = vec4<f32>(1.0, 0x1p-4, 0x1p-8, 0x1p-12);
const PLACE_HIGH: vec4<f32> = vec4<f32>(0x1p-16, 0x1p-20, 0x1p-24, 0x1p-28);
const BIAS_LOW: vec4<f32> = vec4<f32>(-8.0);
const BIAS_HIGH: vec4<f32> = vec4<f32>(-8.0, -8.0, -8.0, 0.0);

fn nibbles_low(q: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(q) & vec4<u32>(0xfu, 0xf0u, 0xf00u, 0xf000u)));
}
fn nibbles_high(q: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(q) & vec4<u32>(0xf0000u, 0xf00000u, 0xf000000u, 0xf0000000u)));
}

// Four scales, `stride` words apart: `half` is 0x10000 for the low half of a word, 1 for the high one.
fn four_halves(word: u32, stride: u32, half: u32) -> vec4<f32> {
    return vec4<f32>(
        high_half(half * scale_word(word)),
        high_half(half * scale_word(word + stride)),
        high_half(half * scale_word(word + 2u * stride)),
        high_half(half * scale_word(word + 3u * stride)),
    );
}
// The same for halves counted from the start of the buffer, `stride` halves apart.
fn four_halves_at(i: u32, stride: u32) -> vec4<f32> {
    if (stride % 2u == 0u) {
        return four_halves(i / 2u, stride / 2u, half_factor(i));
    }
    return vec4<f32>(half_at(i), half_at(i + stride), half_at(i + 2u * stride), half_at(i + 3u * stride));
}
// What makes a word's half `i` (of all halves of the buffer) the high one.
fn half_factor(i: u32) -> u32 {
    return select(0x10000u, 1u, i % 2u == 1u);
}

// Scale `i` of the buffer that scale_word(i) gives the words of.
fn half_at(i: u32) -> f32 {
    return high_half(half_factor(i) * scale_word(i / 2u));
}
