// x += sum_k weight_k * down_k(activation_k) + shared_down(activation_shared)
//
// A workgroup owns 32 outputs for a tile of tokens. Routed matrices are [slot, EXPERT in, HIDDEN out]: 4 words of a row
// times SPLITS threads down the chosen experts' inputs, for each token of the tile.
// workgroups: [HIDDEN / 32, ceil(count / TILE)]

#import step
#import numbers
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32>; // the same bytes
@group(0) @binding(3) var<storage, read> activation: array<vec4<f32>>; // [count, (CHOSEN * EXPERT + SHARED) / 4]
@group(0) @binding(4) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(5) var<storage, read_write> x: array<f32>; // [count, HIDDEN]

const ROWS: u32 = 32u;
const LANES: u32 = 8u;
const TEAM: u32 = 256u / TILE; // threads that work on one token's experts
const SPLITS: u32 = TEAM / 4u;
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;

var<private> first_token: u32;

fn input4(t: u32, i: u32) -> vec4<f32> {
    return activation[(min(first_token + t, step.count - 1u) * WIDTH + CHOSEN * EXPERT) / 4u + i];
}

#import linear

var<workgroup> rows: array<vec4<f32>, 32>; // the shared expert's part

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first = workgroup.y * TILE;
    first_token = first;
    let group = workgroup.x;
    let row = group * 32u + local / LANES;
    let sums = linear(local, SHARED_DOWN + row * (SHARED / 32u), SHARED_DOWN_SCALE + row * (SHARED / 32u), SHARED);
    if (local % LANES == 0u) {
        rows[local / LANES] = sums;
    }

    // 256 / TILE threads for each token of the tile.
    let t = local / TEAM;
    let member = local % TEAM;
    let token = first + t;
    var low = vec4<f32>();
    var high = vec4<f32>();
    for (var k = 0u; k < CHOSEN && token < step.count; k++) {
        let choice = choices[token * CHOSEN + k];
        if (choice.slot == EMPTY) {
            continue;
        }
        for (var i = member / 4u; i < EXPERT; i += SPLITS) {
            let at = (choice.slot * EXPERT + i) * (HIDDEN / 32u) + group;
            let scale = f16_to_f32(half_of(words[(DOWN_SCALE + at) >> 1u], (DOWN_SCALE + at) & 1u));
            let input = choice.weight * scale * activation[(token * WIDTH + k * EXPERT + i) / 4u][i % 4u];
            let packed = words[(DOWN + at) * 4u + member % 4u];
            low += input * int4_low(packed);
            high += input * int4_high(packed);
        }
    }
    // scratch: [TILE, SPLITS, 4 words] of 4 outputs; the low four outputs of every word, then the high four.
    for (var half = 0u; half < 2u; half++) {
        workgroupBarrier();
        scratch[local] = select(low, high, half == 1u);
        workgroupBarrier();
        if (member < 4u && token < step.count) {
            let i = member * 8u + half * 4u;
            var sum = vec4<f32>(rows[i][t], rows[i + 1u][t], rows[i + 2u][t], rows[i + 3u][t]);
            for (var split = 0u; split < SPLITS; split++) {
                sum += scratch[t * TEAM + split * 4u + member];
            }
            let at = token * HIDDEN + group * 32u + i;
            x[at] += sum.x;
            x[at + 1u] += sum.y;
            x[at + 2u] += sum.z;
            x[at + 3u] += sum.w;
        }
    }
}
