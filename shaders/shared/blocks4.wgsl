// A tile's values, 32 of each token. The including kernel imports tile and block, and declares
//   inputs32(t, block)   values 32 * block .. + 32 of the t-th token (already normalised, if need be)
alias Inputs32 = array<Inputs, 8>;

fn inputs_of_all(block: u32) -> Inputs32 {
    let a = inputs32(0u, block);
    let b = inputs32(1u, block);
    let c = inputs32(2u, block);
    let d = inputs32(3u, block);
    return Inputs32(
        side_by_side(a[0], b[0], c[0], d[0]), side_by_side(a[1], b[1], c[1], d[1]),
        side_by_side(a[2], b[2], c[2], d[2]), side_by_side(a[3], b[3], c[3], d[3]),
        side_by_side(a[4], b[4], c[4], d[4]), side_by_side(a[5], b[5], c[5], d[5]),
        side_by_side(a[6], b[6], c[6], d[6]), side_by_side(a[7], b[7], c[7], d[7]),
    );
}
fn side_by_side(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> Inputs {
    return transpose(mat4x4<f32>(a, b, c, d));
}
