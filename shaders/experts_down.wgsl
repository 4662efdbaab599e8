// x += sum_k weight_k * down_k(activation_k) + shared_down(activation_shared)
//
// A workgroup owns 32 outputs for a tile of tokens. With one token it computes the chosen experts' part itself; in prefill
// routed_down.wgsl has. Routed matrices are [slot, EXPERT in, HIDDEN out]: 4 words of a row times SPLITS threads down the
// chosen experts' inputs.
// workgroups: [HIDDEN / 32, ceil(count / TILE)]

#import step
#import numbers
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32>; // the same bytes
@group(0) @binding(3) var<storage, read> routed: array<f32>; // [count, CHOSEN, HIDDEN]
@group(0) @binding(4) var<storage, read> activation: array<vec4<f32>>; // [count, (CHOSEN * EXPERT + SHARED) / 4]
@group(0) @binding(5) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(6) var<storage, read_write> x: array<f32>; // [count, HIDDEN]

const ROWS: u32 = 32u;
const LANES: u32 = 8u;
const SPLITS: u32 = 64u;
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;

var<private> first_token: u32;

fn input4(t: u32, i: u32) -> vec4<f32> {
    return activation[(min(first_token + t, step.count - 1u) * WIDTH + CHOSEN * EXPERT) / 4u + i];
}

#import linear

var<workgroup> outputs: array<vec4<f32>, 32>; // [32] of the tile's tokens: the shared expert's part

// Adds the chosen experts' part to the outputs of the one token.
fn add_routed(group: u32, local: u32) {
    var low = vec4<f32>();
    var high = vec4<f32>();
    for (var k = 0u; k < CHOSEN; k++) {
        let choice = choices[first_token * CHOSEN + k];
        if (choice.slot == EMPTY) {
            continue;
        }
        for (var i = local / 4u; i < EXPERT; i += SPLITS) {
            let at = (choice.slot * EXPERT + i) * (HIDDEN / 32u) + group;
            let scale = f16_to_f32(half_of(words[(DOWN_SCALE + at) >> 1u], (DOWN_SCALE + at) & 1u));
            let input = choice.weight * scale * activation[(first_token * WIDTH + k * EXPERT + i) / 4u][i % 4u];
            let packed = words[(DOWN + at) * 4u + local % 4u];
            low += input * int4_low(packed);
            high += input * int4_high(packed);
        }
    }
    // scratch: [SPLITS, 4 words] of 4 outputs; the low four outputs of every word, then the high four.
    for (var half = 0u; half < 2u; half++) {
        workgroupBarrier();
        scratch[local] = select(low, high, half == 1u);
        workgroupBarrier();
        if (local < 4u) {
            var sum = vec4<f32>();
            for (var split = 0u; split < SPLITS; split++) {
                sum += scratch[split * 4u + local];
            }
            for (var i = 0u; i < 4u; i++) {
                outputs[local * 8u + half * 4u + i].x += sum[i];
            }
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    first_token = workgroup.y * TILE;
    let group = workgroup.x;
    let row = group * 32u + local / LANES;
    let sums = linear(local, SHARED_DOWN + row * (SHARED / 32u), SHARED_DOWN_SCALE + row * (SHARED / 32u), SHARED);
    if (local % LANES == 0u) {
        outputs[local / LANES] = sums;
    }
    if (TILE == 1u) {
        workgroupBarrier();
        add_routed(group, local);
    }
    workgroupBarrier();

    // One thread an output of a token.
    let token = first_token + local / 32u;
    let i = local % 32u;
    if (local / 32u < TILE && token < step.count) {
        var sum = outputs[i][local / 32u];
        if (TILE > 1u) {
            for (var k = 0u; k < CHOSEN; k++) {
                let choice = choices[token * CHOSEN + k];
                if (choice.slot != EMPTY) {
                    sum += choice.weight * routed[(token * CHOSEN + k) * HIDDEN + group * 32u + i];
                }
            }
        }
        x[token * HIDDEN + group * 32u + i] += sum;
    }
}
