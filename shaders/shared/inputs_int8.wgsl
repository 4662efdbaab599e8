// Inputs rounded to multiples of their block's largest / 127: whole numbers, held as f32, whose products with INT4 weights
// sum up exactly. The same integers as inputs_packed.wgsl has, without any optional feature.
const ROW_STEP: u32 = 1u;
fn first_input(i: u32) -> u32 {
    return 4u * i;
}

var<workgroup> scales: array<f32, KEPT / 8u>;

fn keep(local: u32, a: vec4<f32>, b: vec4<f32>) {
    let scale = int8_scale(largest_of_four(local, largest_of(a, b)));
    workgroupBarrier(); // the largest ones were in scratch
    if (2u * local < KEPT) {
        scratch[2u * local] = round(a / scale);
        scratch[2u * local + 1u] = round(b / scale);
        if (local % 4u == 0u) {
            scales[local / 4u] = scale;
        }
    }
}
fn block_scale(x: u32) -> f32 {
    return scales[x / 8u];
}

// Eight weights of a word.
alias Weights = mat2x4<f32>;
fn weights_of(word: u32) -> Weights {
    return mat2x4<f32>(int4_low(word), int4_high(word));
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
alias Rows = array<Weights, 4>;
fn rows_of(q: vec4<u32>) -> Rows {
    return Rows(weights_of(q.x), weights_of(q.y), weights_of(q.z), weights_of(q.w));
}
fn outer(w: Rows, x: u32) -> mat2x4<f32> {
    let inputs = scratch[x];
    return (w[0] * inputs.x + w[1] * inputs.y + w[2] * inputs.z + w[3] * inputs.w) * block_scale(x);
}
