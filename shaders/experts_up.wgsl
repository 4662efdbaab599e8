// activation = silu(gate h) * up h, for the CHOSEN experts of each token and for the shared expert beside them.
//
// A workgroup owns 32 activations for a tile of tokens: of the shared expert, or of each token's k-th expert.
// Routed matrices are [slot, HIDDEN in, 2 * EXPERT out]: 8 words of a row (4 of gate, 4 of up) times SPLITS threads down
// the inputs, for each token of the tile.
// workgroups: [SHARED / 32 + CHOSEN * EXPERT / 32, ceil(count / TILE)]

#import step
#import numbers
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32>; // the same bytes
@group(0) @binding(3) var<storage, read> h: array<vec4<f32>>; // [count, HIDDEN / 4]
@group(0) @binding(4) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(5) var<storage, read_write> activation: array<f32>; // [count, CHOSEN * EXPERT + SHARED]

const ROWS: u32 = 64u; // of the shared expert: 32 of gate, 32 of up
const LANES: u32 = 4u;
const TEAM: u32 = 256u / TILE; // threads that work on one token's expert
const SPLITS: u32 = TEAM / 8u;
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;
const SHARED_BLOCKS: u32 = SHARED / 32u;

var<private> first_token: u32;

fn input4(t: u32, i: u32) -> vec4<f32> {
    return h[min(first_token + t, step.count - 1u) * (HIDDEN / 4u) + i];
}

#import linear

fn shared_block(block: u32, local: u32) {
    let row = local / LANES;
    let is_up = row >= 32u;
    let matrix_row = block * 32u + row % 32u;
    let groups = HIDDEN / 32u;
    let weight = select(SHARED_GATE, SHARED_UP, is_up) + matrix_row * groups;
    let scale = select(SHARED_GATE_SCALE, SHARED_UP_SCALE, is_up) + matrix_row * groups;
    let sums = linear(local, weight, scale, HIDDEN);
    workgroupBarrier();
    if (local % LANES == 0u) {
        scratch[row] = sums;
    }
    workgroupBarrier();
    let t = local / 32u;
    let i = local % 32u;
    if (t < TILE && first_token + t < step.count) {
        activation[(first_token + t) * WIDTH + CHOSEN * EXPERT + block * 32u + i] = silu(scratch[i][t]) * scratch[i + 32u][t];
    }
}

// Chosen expert k of each token of the tile: 256 / TILE threads a token.
fn routed_block(first: u32, k: u32, block: u32, local: u32) {
    let t = local / TEAM;
    let member = local % TEAM;
    let token = first + t;
    let word = member % 8u;
    let group = block + select(0u, EXPERT / 32u, word >= 4u); // of the row's 2 * EXPERT / 32
    let groups = EXPERT / 16u;
    var slot = EMPTY;
    if (token < step.count) {
        slot = choices[token * CHOSEN + k].slot;
    }
    var low = vec4<f32>();
    var high = vec4<f32>();
    if (slot != EMPTY) {
        for (var i = member / 8u; i < HIDDEN; i += SPLITS) {
            let at = (slot * HIDDEN + i) * groups + group;
            let scale = f16_to_f32(half_of(words[(GATE_UP_SCALE + at) >> 1u], (GATE_UP_SCALE + at) & 1u));
            let value = h[token * (HIDDEN / 4u) + i / 4u][i % 4u] * scale;
            let packed = words[(GATE_UP + at) * 4u + word % 4u];
            low += value * int4_low(packed);
            high += value * int4_high(packed);
        }
    }
    // scratch: [TILE, SPLITS, 8 words] of 4 outputs; the low four outputs of every word, then the high four.
    for (var half = 0u; half < 2u; half++) {
        workgroupBarrier();
        scratch[local] = select(low, high, half == 1u);
        workgroupBarrier();
        if (member < 4u && slot != EMPTY) {
            var gate = vec4<f32>();
            var up = vec4<f32>();
            for (var split = 0u; split < SPLITS; split++) {
                gate += scratch[t * TEAM + split * 8u + member];
                up += scratch[t * TEAM + split * 8u + 4u + member];
            }
            let i = token * WIDTH + k * EXPERT + block * 32u + member * 8u + half * 4u;
            activation[i] = silu(gate.x) * up.x;
            activation[i + 1u] = silu(gate.y) * up.y;
            activation[i + 2u] = silu(gate.z) * up.z;
            activation[i + 3u] = silu(gate.w) * up.w;
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first = workgroup.y * TILE;
    first_token = first;
    if (workgroup.x < SHARED_BLOCKS) {
        shared_block(workgroup.x, local);
    } else if (CHOSEN > 0u) {
        let routed = workgroup.x - SHARED_BLOCKS;
        let blocks = max(EXPERT / 32u, 1u);
        routed_block(first, routed / blocks, routed % blocks, local);
    }
}
