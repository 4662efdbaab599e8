// Inputs rounded to multiples of their block's largest / 127: whole numbers, held as f32, whose products with INT4 weights
// sum up exactly. The same integers in the same order as inputs_packed.wgsl has, without any optional feature.
const ROW_STEP: u32 = 2u;
fn first_input(i: u32) -> u32 {
    return 8u * (i / 2u) + i % 2u;
}

var<workgroup> scales: array<f32, KEPT / 8u>;

fn keep(local: u32, a: vec4<f32>, b: vec4<f32>) {
    let scale = int8_scale(largest_of_four(local, largest_of(a, b)));
    workgroupBarrier(); // the largest ones were in scratch
    if (2u * local < KEPT) {
        scratch[2u * local] = round(vec4<f32>(a.xz, b.xz) / scale);
        scratch[2u * local + 1u] = round(vec4<f32>(a.yw, b.yw) / scale);
        if (local % 4u == 0u) {
            scales[local / 4u] = scale;
        }
    }
}
fn block_scale(x: u32) -> f32 {
    return scales[x / 8u];
}

// Eight weights of a word: even ones, odd ones.
alias Weights = mat2x4<f32>;
fn weights_of(word: u32) -> Weights {
    let even = bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(28u, 20u, 12u, 4u)) >> vec4<u32>(28u);
    let odd = bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(28u);
    return mat2x4<f32>(vec4<f32>(even), vec4<f32>(odd));
}
fn word_dot(w: Weights, x: u32) -> f32 {
    return dot(w[0], scratch[x]) + dot(w[1], scratch[x + 1u]);
}
fn group_dots(packed: vec4<u32>, x: u32) -> Sums {
    let dots = word_dots(weights_of(packed.x), x) + word_dots(weights_of(packed.y), x + 2u)
        + word_dots(weights_of(packed.z), x + 4u) + word_dots(weights_of(packed.w), x + 6u);
    return times(dots, block_scales(x));
}

// Eight weights of each of four rows.
alias Rows = array<mat2x4<f32>, 4>;
fn row_of(word: u32) -> mat2x4<f32> {
    return mat2x4<f32>(int4_low(word), int4_high(word));
}
fn rows_of(q: vec4<u32>) -> Rows {
    return Rows(row_of(q.x), row_of(q.y), row_of(q.z), row_of(q.w));
}
fn outer(w: Rows, x: u32) -> mat2x4<f32> {
    let inputs = scratch[x];
    return (w[0] * inputs.x + w[1] * inputs.y + w[2] * inputs.z + w[3] * inputs.w) * block_scale(x);
}
