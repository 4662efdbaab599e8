// logits = (rmsnorm(x) * norm) head^T for the rows that the step asks for. LANES threads own ROWS of the vocabulary.
// workgroups: [ceil(VOCAB / ROWS * LANES / SMALL_WORKGROUP), ceil(head_rows / TILE)]

#import step
#import numbers
#import halves

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>, VOCAB * (HIDDEN / 32u)>; // [VOCAB, HIDDEN / 32] groups
@group(0) @binding(2) var<storage, read> scales: array<u32, (VOCAB * (HIDDEN / 32u) + 1u) / 2u>; // [VOCAB, HIDDEN / 32] f16
@group(0) @binding(3) var<storage, read> norm: array<vec2<u32>, HIDDEN / 4u>; // [HIDDEN / 4] of 4 BF16
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>, TOKENS * (HIDDEN / 4u)>; // [count, HIDDEN / 4]
@group(0) @binding(5) var<storage, read_write> logits: array<f32>; // [head_rows, VOCAB]

const WIDTH: u32 = HIDDEN;
const MATRICES: u32 = 1u;

var<private> input_rows: array<u32, TILE>;

#import inverse_rms

fn input4(t: u32, i: u32) -> vec4<f32> {
    return measured(t, input_rows[t] + i) * bf16x4(norm[i]);
}
fn scale_word(i: u32) -> u32 {
    return scales[i];
}

#import tile
#import lanes
#import own
#import held
#import rows

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = own_block(workgroup.x, local) * ROWS;
    if (row >= VOCAB) {
        return;
    }
    let head_row = workgroup.y * TILE;
    for (var t = 0u; t < TILE; t++) {
        input_rows[t] = min(step.head_row + head_row + t, step.count - 1u) * (HIDDEN / 4u);
    }
    add_rows(row, array(0u), array(0u));
    measure_rms();
    for (var n = 0u; n < OWN_TOKENS && head_row + own_token(n) < step.head_rows; n++) {
        let factor = inverse_rms[own_token(n)];
        for (var r = 0u; r < ROWS && row + r < VOCAB; r++) {
            logits[(head_row + own_token(n)) * VOCAB + row + r] = factor * own_sum(r, n);
        }
    }
}
