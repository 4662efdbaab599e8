// logits = (rmsnorm(x) * norm) head^T for the rows that the step asks for.
// workgroups: [ceil(VOCAB / ROWS), ceil(head_rows / TILE)]

#import step
#import numbers

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // [VOCAB, HIDDEN / 32] groups
@group(0) @binding(2) var<storage, read> words: array<u32>; // [VOCAB, HIDDEN / 32] f16 scales
@group(0) @binding(3) var<storage, read> norm: array<vec2<u32>>; // [HIDDEN / 4] of 4 BF16
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>; // [count, HIDDEN / 4]
@group(0) @binding(5) var<storage, read_write> logits: array<f32>; // [head_rows, VOCAB]

const LANES: u32 = 4u;

var<private> first_token: u32;

fn input4(t: u32, i: u32) -> vec4<f32> {
    return x[min(first_token + t, step.count - 1u) * (HIDDEN / 4u) + i] * inverse_rms[t] * bf16x4(norm[i]);
}

#import staged
#import linear
#import tile_rms

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    first_token = step.head_row + workgroup.y * TILE;
    measure_rms(local, first_token);
    let row = workgroup.x * ROWS + local / LANES;
    let groups = HIDDEN / 32u;
    let matrix_row = min(row, VOCAB - 1u);
    let sums = linear(local, matrix_row * groups, matrix_row * groups, HIDDEN);
    if (local % LANES == 0u && row < VOCAB) {
        for (var t = 0u; t < TILE; t++) {
            let head_row = workgroup.y * TILE + t;
            if (head_row < step.head_rows) {
                logits[head_row * VOCAB + row] = of_token(sums, t);
            }
        }
    }
}
