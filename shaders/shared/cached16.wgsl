// Keys and values in 16 bits. A row is one head of a position: 64 halves. The including kernel declares
// half_pair(word) -> both.
alias Quad = vec2<u32>;
struct Row {
    quads: array<Quad, 16>,
}

// Dimensions 4i .. 4i+3 of a row from its Quad i.
fn quad4(quad: Quad) -> vec4<f32> {
    return vec4<f32>(half_pair(quad.x), half_pair(quad.y));
}
fn row_scale(row: u32) -> f32 {
    return 1.0;
}
