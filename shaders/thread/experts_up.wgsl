// activation = silu(gate h) * up h, for the CHOSEN experts of each token and for the shared expert beside them.
//
// A thread owns 32 activations of the shared expert (32 rows of gate, 32 of up) for a tile of tokens, or 16 of a routed
// expert for a tile of entries that chose it. Routed matrices are [slot, HIDDEN in, 2 * EXPERT out].
// workgroups: [ceil((SHARED / 32 + EXPERT / 16) / SMALL_WORKGROUP), tiles of entries]; with one token a tile [..., count], where
// the CHOSEN experts' blocks lie side by side

#import step
#import numbers
#import halves
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> words: array<u32, LAYER_WORDS>; // the layer's tensors
@group(0) @binding(3) var<storage, read> order: array<u32>; // [tiles of entries, TILE], see group.wgsl
@group(0) @binding(4) var<storage, read> h: array<vec4<f32>>; // [count, HIDDEN / 4]
@group(0) @binding(5) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(6) var<storage, read_write> activation: array<f32>; // [count, CHOSEN * EXPERT + SHARED]

const ROWS: u32 = 64u; // of the shared expert: 32 of gate, 32 of up
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;

var<private> tokens: array<u32, TILE>; // whose h are the inputs

fn input4(t: u32, i: u32) -> vec4<f32> {
    return h[tokens[t] * (HIDDEN / 4u) + i];
}
fn scale_word(i: u32) -> u32 {
    return words[i];
}

#import tile
#import group_dot
#import rows
#import columns
#import entries

fn shared_block(block: u32, tile: u32) {
    for (var t = 0u; t < TILE; t++) {
        tokens[t] = min(tile * TILE + t, step.count - 1u);
    }
    let groups = block * HIDDEN; // before the block's 32 rows
    for (var up = 0u; up < 2u; up++) { // a loop, so that it is compiled once
        let weight = select(SHARED_GATE, SHARED_UP, up == 1u) + groups;
        let scale = select(SHARED_GATE_SCALE, SHARED_UP_SCALE, up == 1u) + groups;
        sum_rows(up * 32u, 32u, weight * 4u, scale, HIDDEN);
    }
    for (var t = 0u; t < TILE && tile * TILE + t < step.count; t++) {
        for (var i = 0u; i < 32u; i++) {
            activation[tokens[t] * WIDTH + CHOSEN * EXPERT + block * 32u + i] =
                silu(of_token(sums[i], t)) * of_token(sums[32u + i], t);
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
    let groups = EXPERT / 16u; // of a row: gate's, then up's
    var word = (GATE_UP + slot * HIDDEN * groups) * 4u + block * 2u;
    let scale = GATE_UP_SCALE + slot * HIDDEN * groups + block / 2u;
    var gate_scale = scale / 2u;
    let gate_half = half_factor(scale);
    var up_scale = (scale + EXPERT / 32u) / 2u;
    let up_half = half_factor(scale + EXPERT / 32u);
    var gate = Columns();
    var up = Columns();
    for (var i = 0u; i < HIDDEN / 4u; i++) {
        let x = inputs(i);
        add_columns(&gate, x, word, groups * 4u, four_halves(gate_scale, groups / 2u, gate_half));
        add_columns(&up, x, word + EXPERT / 8u, groups * 4u, four_halves(up_scale, groups / 2u, up_half));
        word += groups * 16u;
        gate_scale += groups * 2u;
        up_scale += groups * 2u;
    }
    for (var t = 0u; t < TILE; t++) {
        let at = entry(tile, t);
        if (at == EMPTY) {
            break;
        }
        let k = at % max(CHOSEN, 1u);
        for (var i = 0u; i < 4u; i++) {
            let g = columns_of_token(gate, i, t);
            let value = vec4<f32>(silu(g.x), silu(g.y), silu(g.z), silu(g.w)) * columns_of_token(up, i, t);
            let first_activation = tokens[t] * WIDTH + k * EXPERT + block * 16u + i * 4u;
            activation[first_activation] = value.x;
            activation[first_activation + 1u] = value.y;
            activation[first_activation + 2u] = value.z;
            activation[first_activation + 3u] = value.w;
        }
    }
}

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
    let block = thread.x;
    if (block < SHARED / 32u) {
        if (thread.y * TILE < step.count) {
            shared_block(block, thread.y);
        }
    } else if (block < SHARED / 32u + SIDE_BY_SIDE * EXPERT / 16u) {
        let routed = block - SHARED / 32u;
        let blocks = max(EXPERT / 16u, 1u);
        routed_block(routed % blocks, thread.y * SIDE_BY_SIDE + routed / blocks);
    }
}
