// 1 / rms(x) of a token, by one thread. The including kernel declares x: array<vec4<f32>> [tokens, HIDDEN / 4].
fn inverse_rms(token: u32) -> f32 {
    var sum = 0.0;
    for (var i = 0u; i < HIDDEN / 4u; i++) {
        let value = x[token * (HIDDEN / 4u) + i];
        sum += dot(value, value);
    }
    return inverseSqrt(sum / f32(HIDDEN) + EPS);
}
