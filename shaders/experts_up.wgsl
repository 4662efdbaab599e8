// activation = silu(gate h) * up h, for the CHOSEN experts of each token and for the shared expert beside them.
//
// A workgroup owns 32 activations: of the shared expert for a tile of tokens, or of a routed expert for a tile of entries that
// chose it. Routed matrices are [slot, HIDDEN in, 2 * EXPERT out]: of a row 4 words are of gate, 4 of up.
// workgroups: [blocks, tiles], where blocks are in prefill SHARED_BLOCKS or ROUTED_BLOCKS, the other being none; with one token
// a tile SHARED_BLOCKS and those of the CHOSEN experts side by side

#import step
#import numbers
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32>; // the same bytes
@group(0) @binding(3) var<storage, read> order: array<u32>; // [tiles of entries, TILE], see group.wgsl
@group(0) @binding(4) var<storage, read> h: array<vec4<f32>>; // [count, HIDDEN / 4]
@group(0) @binding(5) var<storage, read> choices: array<Choice, max(TOKENS * CHOSEN, 1u)>; // [count, CHOSEN]
@group(0) @binding(6) var<storage, read_write> activation: array<f32>; // [count, CHOSEN * EXPERT + SHARED]

const LANES: u32 = 4u; // threads a row of the shared expert: 32 of gate and 32 of up make 256
const WORDS: u32 = 8u; // of a routed row
const STACK: u32 = GATE_UP;
const STACK_SCALE: u32 = GATE_UP_SCALE;
const STACK_GROUPS: u32 = EXPERT / 16u;
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;

var<private> tokens: array<u32, TILE>; // whose h are the inputs
var<private> slot: u32;

fn input4(t: u32, i: u32) -> vec4<f32> {
    return h[tokens[t] * (HIDDEN / 4u) + i];
}

fn routed_input4(t: u32, i: u32) -> vec4<f32> {
    return input4(t, i);
}
fn routed_row(i: u32) -> u32 {
    return slot * HIDDEN + i;
}

#import staged
#import linear
#import routed
#import entries

fn shared_block(block: u32, tile: u32, local: u32) {
    for (var t = 0u; t < TILE; t++) {
        tokens[t] = min(tile * TILE + t, step.count - 1u);
    }
    let row = local / LANES;
    let is_up = row >= 32u;
    let matrix_row = block * 32u + row % 32u;
    let groups = HIDDEN / 32u;
    let weight = select(SHARED_GATE, SHARED_UP, is_up) + matrix_row * groups;
    let scale = select(SHARED_GATE_SCALE, SHARED_UP_SCALE, is_up) + matrix_row * groups;
    let sums = linear(local, weight, scale, HIDDEN);
    workgroupBarrier();
    if (local % LANES == 0u) {
        put(row, sums);
    }
    workgroupBarrier();
    let t = local / 32u;
    let i = local % 32u;
    if (t < TILE && tile * TILE + t < step.count) {
        activation[(tile * TILE + t) * WIDTH + CHOSEN * EXPERT + block * 32u + i] =
            silu(of_token(got(i), t)) * of_token(got(i + 32u), t);
    }
}

fn routed_block(block: u32, tile: u32, local: u32) {
    let found = slot_of(tile);
    if (found == EMPTY) {
        return; // the whole workgroup
    }
    slot = found;
    for (var t = 0u; t < TILE; t++) {
        tokens[t] = entry_or_first(tile, t) / max(CHOSEN, 1u);
    }
    var sum = Outer();
    add_routed(&sum, local, vec2<u32>(block, block + EXPERT / 32u), HIDDEN);
    // The low four outputs of every word, then the high four, of one token after the other.
    for (var part = 0u; part < 2u * TILE; part++) {
        let t = part / 2u;
        let half = part % 2u;
        let outputs = outer_of_token(&sum, t);
        share(local, WORDS, select(outputs[0], outputs[1], half == 1u));
        let at = entry(tile, t);
        if (local < 4u && at != EMPTY) {
            let gate = shared_sum(local, WORDS);
            let up = shared_sum(local + 4u, WORDS);
            let k = at % max(CHOSEN, 1u);
            let i = tokens[t] * WIDTH + k * EXPERT + block * 32u + local * 8u + half * 4u;
            activation[i] = silu(gate.x) * up.x;
            activation[i + 1u] = silu(gate.y) * up.y;
            activation[i + 2u] = silu(gate.z) * up.z;
            activation[i + 3u] = silu(gate.w) * up.w;
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    if (SHARED_BLOCKS > 0u && workgroup.x < SHARED_BLOCKS) {
        shared_block(workgroup.x, workgroup.y, local);
    } else if (ROUTED_BLOCKS > 0u) {
        let routed = workgroup.x - SHARED_BLOCKS;
        let blocks = max(ROUTED_BLOCKS, 1u);
        routed_block(routed % blocks, workgroup.y * SIDE_BY_SIDE + routed / blocks, local);
    }
}
