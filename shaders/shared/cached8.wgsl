// Keys and values in 8 bits. A row is one head of a position: a scale (f32), then 16 words of four bytes each;
// value = byte * scale.
const ROW_WORDS: u32 = 17u;

// Dimensions 4i .. 4i+3 of a row. Bytes are converted where they stand, all but the highest with 128 added.
fn cached4(row: u32, i: u32) -> vec4<f32> {
    let scale = bitcast<f32>(cache[row * ROW_WORDS]);
    let q = vec4<u32>(cache[row * ROW_WORDS + 1u + i] ^ 0x00808080u) & vec4<u32>(0xffu, 0xff00u, 0xff0000u, 0xff000000u);
    let bytes = vec4<f32>(bitcast<vec4<i32>>(q)) * vec4<f32>(1.0, 0x1p-8, 0x1p-16, 0x1p-24);
    return scale * (bytes - vec4<f32>(128.0, 128.0, 128.0, 0.0));
}
fn cached(row: u32, dimension: u32) -> f32 {
    return cached4(row, dimension / 4u)[dimension % 4u];
}
