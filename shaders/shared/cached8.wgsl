// Keys and values in 8 bits. A row is one head of a position: a scale, then a byte a dimension.
alias Quad = u32;
struct Row {
    scale: f32,
    quads: array<Quad, 16>,
}

// Dimensions 4i .. 4i+3 of a row from its Quad i; they are to be multiplied by the row's scale. Bytes are converted where
// they stand, all but the highest with 128 added.
fn quad4(quad: Quad) -> vec4<f32> {
    let q = vec4<u32>(quad ^ 0x00808080u) & vec4<u32>(0xffu, 0xff00u, 0xff0000u, 0xff000000u);
    let bytes = vec4<f32>(bitcast<vec4<i32>>(q)) * vec4<f32>(1.0, 0x1p-8, 0x1p-16, 0x1p-24);
    return bytes - vec4<f32>(128.0, 128.0, 128.0, 0.0);
}
fn row_scale(row: u32) -> f32 {
    return cache[row].scale;
}
