// activation = silu(gate h) * up h, for the CHOSEN experts of each token and for the shared expert beside them.
//
// A workgroup owns 32 activations: of the shared expert for a tile of tokens, or of a routed expert for a tile of entries that
// chose it. Routed matrices are [slot, HIDDEN in, 2 * EXPERT out]: 8 words of a row (4 of gate, 4 of up) times SPLITS
// threads down the inputs.
// workgroups: [(SHARED + EXPERT) / 32, tiles of entries]; with one token a tile [..., count], where the CHOSEN experts'
// blocks lie side by side

#import step
#import numbers
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32>; // the same bytes
@group(0) @binding(3) var<storage, read> order: array<u32>; // [tiles of entries, TILE], see group.wgsl
@group(0) @binding(4) var<storage, read> h: array<vec4<f32>>; // [count, HIDDEN / 4]
@group(0) @binding(5) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(6) var<storage, read_write> activation: array<f32>; // [count, CHOSEN * EXPERT + SHARED]

const ROWS: u32 = 64u; // of the shared expert: 32 of gate, 32 of up
const LANES: u32 = 4u;
const SPLITS: u32 = 32u;
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;
const SHARED_BLOCKS: u32 = SHARED / 32u;

var<private> tokens: array<u32, TILE>; // whose h are the inputs

fn input4(t: u32, i: u32) -> vec4<f32> {
    return h[tokens[t] * (HIDDEN / 4u) + i];
}

#import linear
#import tile
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
        scratch[row] = sums;
    }
    workgroupBarrier();
    let t = local / 32u;
    let i = local % 32u;
    if (t < TILE && tile * TILE + t < step.count) {
        activation[(tile * TILE + t) * WIDTH + CHOSEN * EXPERT + block * 32u + i] = silu(scratch[i][t]) * scratch[i + 32u][t];
    }
}

fn routed_block(block: u32, tile: u32, local: u32) {
    let slot = slot_of(tile);
    if (slot == EMPTY) {
        return; // the whole workgroup
    }
    for (var t = 0u; t < TILE; t++) {
        tokens[t] = entry_or_first(tile, t) / max(CHOSEN, 1u);
    }
    let word = local % 8u;
    let group = block + select(0u, EXPERT / 32u, word >= 4u); // of the row's 2 * EXPERT / 32
    let groups = EXPERT / 16u;
    var low = Outer();
    var high = Outer();
    for (var i = local / 8u; i < HIDDEN / 4u; i += SPLITS) {
        let x = inputs(i);
        for (var j = 0u; j < 4u; j++) {
            let at = (slot * HIDDEN + 4u * i + j) * groups + group;
            let value = x[j] * f16_to_f32(half_of(words[(GATE_UP_SCALE + at) >> 1u], (GATE_UP_SCALE + at) & 1u));
            let packed = words[(GATE_UP + at) * 4u + word % 4u];
            low += outer(int4_low(packed), value);
            high += outer(int4_high(packed), value);
        }
    }
    // scratch: [SPLITS, 8 words] of 4 outputs of one token; the low four outputs of every word, then the high four.
    for (var part = 0u; part < 2u * TILE; part++) {
        let t = part / 2u;
        let half = part % 2u;
        workgroupBarrier();
        if (half == 0u) {
            scratch[local] = outer_of_token(low, t);
        } else {
            scratch[local] = outer_of_token(high, t);
        }
        workgroupBarrier();
        let at = entry(tile, t);
        if (local < 4u && at != EMPTY) {
            var gate = vec4<f32>();
            var up = vec4<f32>();
            for (var split = 0u; split < SPLITS; split++) {
                gate += scratch[split * 8u + local];
                up += scratch[split * 8u + 4u + local];
            }
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
    if (workgroup.x < SHARED_BLOCKS) {
        if (workgroup.y * TILE < step.count) {
            shared_block(workgroup.x, workgroup.y, local);
        }
    } else if (CHOSEN > 0u) {
        let routed = workgroup.x - SHARED_BLOCKS;
        let blocks = max(EXPERT / 32u, 1u);
        routed_block(routed % blocks, workgroup.y * SIDE_BY_SIDE + routed / blocks, local);
    }
}
