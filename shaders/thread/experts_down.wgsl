// x += sum_k weight_k * down_k(activation_k) + shared_down(activation_shared). LANES threads own ROWS outputs for a tile of tokens.
//
// With one token it computes the chosen experts' part itself; in prefill routed_down.wgsl has.
// workgroups: [ceil(HIDDEN / ROWS * LANES / SMALL_WORKGROUP), ceil(count / TILE)]

#import step
#import halves
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>, LAYER_WORDS / 4u>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32, LAYER_WORDS>; // the same bytes
@group(0) @binding(3) var<storage, read> routed: array<vec4<f32>, max(TOKENS * CHOSEN * HIDDEN / 4u, 1u)>; // [count, CHOSEN, HIDDEN / 4]
@group(0) @binding(4) var<storage, read> activation: array<vec4<f32>, TOKENS * ACTIVATIONS / 4u>; // [count, (CHOSEN * EXPERT + SHARED) / 4]
@group(0) @binding(5) var<storage, read> choices: array<Choice, max(TOKENS * CHOSEN, 1u)>; // [count, CHOSEN]
@group(0) @binding(6) var<storage, read_write> x: array<vec4<f32>, TOKENS * HIDDEN / 4u>; // [count, HIDDEN / 4]

const ACTIVATIONS: u32 = CHOSEN * EXPERT + SHARED;
const WIDTH: u32 = SHARED;
const EXPERT_INPUTS: u32 = EXPERT;
const ROWS: u32 = 32u * BLOCKS;
const MATRICES: u32 = 1u;

var<private> input_rows: array<u32, TILE>; // where the activations begin that are read
var<private> input_weight: f32; // what they are multiplied by
var<private> shares: array<f32, max(CHOSEN, 1u)>; // what a token's routed outputs are multiplied by, in prefill

fn input4(t: u32, i: u32) -> vec4<f32> {
    return input_weight * activation[input_rows[t] + i];
}
fn scale_word(i: u32) -> u32 {
    return words[i];
}

#import tile
#import lanes
#import own
#import held
#import rows
#import expert_rows

// Adds the chosen experts' part to sums, for one token.
fn add_routed(block: u32, token: u32) {
    for (var k = 0u; k < CHOSEN; k++) {
        let choice = choices[token * CHOSEN + k];
        if (choice.slot != EMPTY) {
            input_rows[0] = (token * ACTIVATIONS + k * EXPERT) / 4u;
            input_weight = choice.weight;
            add_expert_rows(array(choice.slot * (HIDDEN / 32u) + block * BLOCKS), DOWN, DOWN_SCALE / 8u);
        }
    }
}

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let block = own_block(workgroup.x, local);
    if (block >= HIDDEN / ROWS) {
        return;
    }
    let first_token = workgroup.y * TILE;
    if (TILE == 1u) {
        add_routed(block, first_token);
    }
    for (var t = 0u; t < TILE; t++) {
        input_rows[t] = (min(first_token + t, step.count - 1u) * ACTIVATIONS + CHOSEN * EXPERT) / 4u;
    }
    input_weight = 1.0;
    add_rows(block * ROWS, array(SHARED_DOWN), array(SHARED_DOWN_SCALE));

    for (var n = 0u; n < OWN_TOKENS && first_token + own_token(n) < step.count; n++) {
        let token = first_token + own_token(n);
        for (var k = 0u; k < CHOSEN; k++) {
            let choice = choices[token * CHOSEN + k];
            shares[k] = select(choice.weight, 0.0, choice.slot == EMPTY);
        }
        for (var i = 0u; i < ROWS / 4u; i++) {
            let output = block * (ROWS / 4u) + i;
            var sum = x[token * (HIDDEN / 4u) + output];
            for (var j = 0u; j < 4u; j++) {
                sum[j] += own_sum(4u * i + j, n);
            }
            if (TILE > 1u) {
                for (var k = 0u; k < CHOSEN; k++) {
                    if (shares[k] != 0.0) {
                        sum += shares[k] * routed[(token * CHOSEN + k) * (HIDDEN / 4u) + output];
                    }
                }
            }
            x[token * (HIDDEN / 4u) + output] = sum;
        }
    }
}
