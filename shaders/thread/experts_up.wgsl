// activation = silu(gate h) * up h, for the CHOSEN experts of each token and for the shared expert beside them.
//
// LANES threads own ROWS activations (as many rows of gate, and of up): of the shared expert for a tile of tokens, or of a routed
// expert for a tile of entries that chose it. Routed matrices are [slot, gate's EXPERT and up's, HIDDEN in], see transpose.wgsl.
// workgroups: [ceil(blocks * LANES / SMALL_WORKGROUP), tiles], where blocks are in prefill SHARED_BLOCKS or ROUTED_BLOCKS, the
// other being none; with one token a tile SHARED_BLOCKS and those of the CHOSEN experts side by side

#import step
#import numbers
#import halves
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>, LAYER_WORDS / 4u>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32, LAYER_WORDS>; // the same bytes
@group(0) @binding(3) var<storage, read> order: array<u32>; // [tiles of entries, TILE], see group.wgsl
@group(0) @binding(4) var<storage, read> h: array<vec4<f32>, TOKENS * HIDDEN / 4u>; // [count, HIDDEN / 4]
@group(0) @binding(5) var<storage, read> choices: array<Choice, max(TOKENS * CHOSEN, 1u)>; // [count, CHOSEN]
@group(0) @binding(6) var<storage, read_write> activation: array<vec4<f32>, TOKENS * ACTIVATIONS / 4u>; // [count, ACTIVATIONS / 4]

const ACTIVATIONS: u32 = CHOSEN * EXPERT + SHARED;
const WIDTH: u32 = HIDDEN;
const EXPERT_INPUTS: u32 = HIDDEN;
const ROWS: u32 = 32u * BLOCKS; // of gate and of up
const MATRICES: u32 = 2u;

var<private> tokens: array<u32, TILE>; // whose h are the inputs

fn input4(t: u32, i: u32) -> vec4<f32> {
    return h[tokens[t] * (HIDDEN / 4u) + i];
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
#import entries

// Activations 4i .. 4i+3 of the thread's, of its n-th token.
fn activation4(i: u32, n: u32) -> vec4<f32> {
    var values: vec4<f32>;
    for (var j = 0u; j < 4u; j++) {
        values[j] = silu(own_sum(4u * i + j, n)) * own_sum(ROWS + 4u * i + j, n);
    }
    return values;
}

fn shared_block(block: u32, tile: u32) {
    for (var t = 0u; t < TILE; t++) {
        tokens[t] = min(tile * TILE + t, step.count - 1u);
    }
    add_rows(block * ROWS, array(SHARED_GATE, SHARED_UP), array(SHARED_GATE_SCALE, SHARED_UP_SCALE));
    for (var n = 0u; n < OWN_TOKENS && tile * TILE + own_token(n) < step.count; n++) {
        let token_row = tokens[own_token(n)] * ACTIVATIONS + CHOSEN * EXPERT;
        for (var i = 0u; i < ROWS / 4u; i++) {
            activation[(token_row + block * ROWS) / 4u + i] = activation4(i, n);
        }
    }
}

fn routed_block(block: u32, tile: u32) {
    let slot = slot_of(tile);
    if (slot == EMPTY) {
        return;
    }
    for (var t = 0u; t < TILE; t++) {
        tokens[t] = entry_or_first(tile, t) / max(CHOSEN, 1u);
    }
    let gate_block = slot * (EXPERT / 16u) + block * BLOCKS;
    add_expert_rows(array(gate_block, gate_block + EXPERT / 32u), GATE_UP, GATE_UP_SCALE / 8u);
    for (var n = 0u; n < OWN_TOKENS; n++) {
        let at = entry(tile, own_token(n));
        if (at == EMPTY) {
            break;
        }
        let token_row = tokens[own_token(n)] * ACTIVATIONS + at % max(CHOSEN, 1u) * EXPERT;
        for (var i = 0u; i < ROWS / 4u; i++) {
            activation[token_row / 4u + block * (ROWS / 4u) + i] = activation4(i, n);
        }
    }
}

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let block = own_block(workgroup.x, local);
    if (SHARED_BLOCKS > 0u && block < SHARED_BLOCKS) {
        shared_block(block, workgroup.y);
    } else if (ROUTED_BLOCKS > 0u && block < SHARED_BLOCKS + SIDE_BY_SIDE * ROUTED_BLOCKS) {
        let routed = block - SHARED_BLOCKS;
        let blocks = max(ROUTED_BLOCKS, 1u);
        routed_block(routed % blocks, workgroup.y * SIDE_BY_SIDE + routed / blocks);
    }
}
