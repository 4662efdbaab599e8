// One token: a sum, and sums for the eight outputs of a word.
alias Sums = f32;
alias Outer = array<mat2x4<f32>, 1>;

fn word_dots(w: Weights, x: u32) -> Sums {
    return word_dot(w, x);
}
fn block_scales(x: u32) -> Sums {
    return block_scale(x);
}
fn times(a: Sums, b: Sums) -> Sums {
    return a * b;
}
fn of_token(sums: Sums, t: u32) -> f32 {
    return sums;
}
fn put(i: u32, sums: Sums) {
    scratch[i].x = sums;
}
fn got(i: u32) -> Sums {
    return scratch[i].x;
}
fn add_outer(sum: ptr<function, Outer>, w: Rows, x: u32) {
    (*sum)[0] += outer(w, x);
}
fn outer_of_token(sum: ptr<function, Outer>, t: u32) -> mat2x4<f32> {
    return (*sum)[0];
}
