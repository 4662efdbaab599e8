// Eight tokens, as tokens4.wgsl.
alias Sums = mat2x4<f32>;
alias Outer = array<mat2x4<f32>, 8>;

fn word_dots4(w: Weights, x: u32) -> vec4<f32> {
    return vec4<f32>(word_dot(w, x), word_dot(w, x + STRIDE), word_dot(w, x + 2u * STRIDE), word_dot(w, x + 3u * STRIDE));
}
fn word_dots(w: Weights, x: u32) -> Sums {
    return mat2x4<f32>(word_dots4(w, x), word_dots4(w, x + 4u * STRIDE));
}
fn block_scales4(x: u32) -> vec4<f32> {
    return vec4<f32>(block_scale(x), block_scale(x + STRIDE), block_scale(x + 2u * STRIDE), block_scale(x + 3u * STRIDE));
}
fn block_scales(x: u32) -> Sums {
    return mat2x4<f32>(block_scales4(x), block_scales4(x + 4u * STRIDE));
}
fn times(a: Sums, b: Sums) -> Sums {
    return mat2x4<f32>(a[0] * b[0], a[1] * b[1]);
}
fn of_token(sums: Sums, t: u32) -> f32 {
    return select(sums[0], sums[1], t >= 4u)[t % 4u];
}
fn put(i: u32, sums: Sums) {
    scratch[2u * i] = sums[0];
    scratch[2u * i + 1u] = sums[1];
}
fn got(i: u32) -> Sums {
    return mat2x4<f32>(scratch[2u * i], scratch[2u * i + 1u]);
}
fn add_outer(sum: ptr<function, Outer>, w: Rows, x: u32) {
    (*sum)[0] += outer(w, x);
    (*sum)[1] += outer(w, x + STRIDE);
    (*sum)[2] += outer(w, x + 2u * STRIDE);
    (*sum)[3] += outer(w, x + 3u * STRIDE);
    (*sum)[4] += outer(w, x + 4u * STRIDE);
    (*sum)[5] += outer(w, x + 5u * STRIDE);
    (*sum)[6] += outer(w, x + 6u * STRIDE);
    (*sum)[7] += outer(w, x + 7u * STRIDE);
}
fn outer_of_token(sum: ptr<function, Outer>, t: u32) -> mat2x4<f32> {
    switch t {
        case 0u: { return (*sum)[0]; }
        case 1u: { return (*sum)[1]; }
        case 2u: { return (*sum)[2]; }
        case 3u: { return (*sum)[3]; }
        case 4u: { return (*sum)[4]; }
        case 5u: { return (*sum)[5]; }
        case 6u: { return (*sum)[6]; }
        default: { return (*sum)[7]; }
    }
}
