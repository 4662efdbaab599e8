// Four tokens: a sum for each, and sums for the eight outputs of a word. Tokens are spelled out: what is indexed by a
// variable does not stay in registers.
alias Sums = vec4<f32>;
alias Outer = array<mat2x4<f32>, 4>;

fn word_dots(w: Weights, x: u32) -> Sums {
    return vec4<f32>(word_dot(w, x), word_dot(w, x + STRIDE), word_dot(w, x + 2u * STRIDE), word_dot(w, x + 3u * STRIDE));
}
fn block_scales(x: u32) -> Sums {
    return vec4<f32>(block_scale(x), block_scale(x + STRIDE), block_scale(x + 2u * STRIDE), block_scale(x + 3u * STRIDE));
}
fn times(a: Sums, b: Sums) -> Sums {
    return a * b;
}
fn of_token(sums: Sums, t: u32) -> f32 {
    return sums[t];
}
fn put(i: u32, sums: Sums) {
    scratch[i] = sums;
}
fn got(i: u32) -> Sums {
    return scratch[i];
}
fn add_outer(sum: ptr<function, Outer>, w: Rows, x: u32) {
    (*sum)[0] += outer(w, x);
    (*sum)[1] += outer(w, x + STRIDE);
    (*sum)[2] += outer(w, x + 2u * STRIDE);
    (*sum)[3] += outer(w, x + 3u * STRIDE);
}
fn outer_of_token(sum: ptr<function, Outer>, t: u32) -> mat2x4<f32> {
    switch t {
        case 0u: { return (*sum)[0]; }
        case 1u: { return (*sum)[1]; }
        case 2u: { return (*sum)[2]; }
        default: { return (*sum)[3]; }
    }
}
