// Keys and values in 32 bits. A row is one head of a position: 64 of them.
alias Quad = vec4<f32>;
struct Row {
    quads: array<Quad, 16>,
}

// Dimensions 4i .. 4i+3 of a row from its Quad i.
fn quad4(quad: Quad) -> vec4<f32> {
    return quad;
}
fn row_scale(row: u32) -> f32 {
    return 1.0;
}
