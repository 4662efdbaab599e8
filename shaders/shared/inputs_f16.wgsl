// Inputs as halves, relative to the largest of their block: they neither overflow nor vanish, and sums of eight products
// with INT4 weights stay below 64.
enable f16;

const ROW_STEP: u32 = 1u;
fn first_input(i: u32) -> u32 {
    return 4u * i;
}

var<workgroup> halves: array<vec4<f16>, KEPT>;
var<workgroup> scales: array<f32, KEPT / 8u>;

fn keep(local: u32, a: vec4<f32>, b: vec4<f32>) {
    let scale = max(largest_of_four(local, largest_of(a, b)), 1e-30);
    if (2u * local < KEPT) {
        halves[2u * local] = vec4<f16>(a / scale);
        halves[2u * local + 1u] = vec4<f16>(b / scale);
        if (local % 4u == 0u) {
            scales[local / 4u] = scale;
        }
    }
}
fn block_scale(x: u32) -> f32 {
    return scales[x / 8u];
}

// Eight weights of a word.
alias Weights = mat2x4<f16>;
fn weights_of(word: u32) -> Weights {
    return mat2x4<f16>(vec4<f16>(int4_low(word)), vec4<f16>(int4_high(word)));
}
fn word_dot(w: Weights, x: u32) -> f32 {
    return f32(dot(w[0], halves[x]) + dot(w[1], halves[x + 1u]));
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
    let inputs = halves[x];
    let products = w[0] * inputs.x + w[1] * inputs.y + w[2] * inputs.z + w[3] * inputs.w;
    return mat2x4<f32>(vec4<f32>(products[0]), vec4<f32>(products[1])) * block_scale(x);
}
