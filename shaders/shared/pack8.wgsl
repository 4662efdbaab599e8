// Four values as bytes of the nearest multiples of a scale, ties to even.
fn pack8(values: vec4<f32>, inverse_scale: f32) -> u32 {
    let q = bitcast<vec4<u32>>(vec4<i32>(round(clamp(values * inverse_scale, vec4<f32>(-127.0), vec4<f32>(127.0)))));
    let bytes = (q & vec4<u32>(255u)) << vec4<u32>(0u, 8u, 16u, 24u);
    return bytes.x | bytes.y | bytes.z | bytes.w;
}
// The scale that fits a largest magnitude into a byte; never 0, so that it can be divided by.
fn scale8(largest: f32) -> f32 {
    return max(largest, 1e-20) / 127.0;
}
