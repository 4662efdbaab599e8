// Stored number formats -> f32. Everything is plain u32 arithmetic: no optional feature, exact on every device.

// IEEE half in the low 16 bits. Not unpack2x16float: that may flush subnormals, and checkpoints have subnormal scales.
fn f16_to_f32(half: u32) -> f32 {
    let exponent = (half >> 10u) & 31u;
    let mantissa = half & 1023u;
    let normal = bitcast<f32>(((exponent + 112u) << 23u) | (mantissa << 13u));
    let magnitude = select(normal, f32(mantissa) * 0x1p-24, exponent == 0u);
    return select(magnitude, -magnitude, (half & 0x8000u) != 0u);
}

// Half `i` (0 or 1) of a word.
fn half_of(word: u32, i: u32) -> u32 {
    return (word >> (16u * i)) & 0xffffu;
}

// Eight two's-complement INT4 in a word, lowest nibble first: nibbles 0..3, then 4..7.
fn int4_low(word: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(28u, 24u, 20u, 16u)) >> vec4<u32>(28u));
}
fn int4_high(word: u32) -> vec4<f32> {
    return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(12u, 8u, 4u, 0u)) >> vec4<u32>(28u));
}

// Four BF16 in two words.
fn bf16x4(words: vec2<u32>) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(words.x * 0x10000u, words.x & 0xffff0000u, words.y * 0x10000u, words.y & 0xffff0000u));
}

// x * sigmoid(x); the clamp keeps exp finite, where WGSL leaves overflow undefined.
fn silu(x: f32) -> f32 {
    return x / (1.0 + exp(min(-x, 80.0)));
}
