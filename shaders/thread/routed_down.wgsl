// routed[entry] = down_k(activation_k), in prefill: a tile of entries shares one read of its expert. LANES threads own ROWS
// outputs.
// Routed matrices are [slot, HIDDEN out, EXPERT in], see transpose.wgsl.
// workgroups: [ceil(HIDDEN / ROWS * LANES / SMALL_WORKGROUP), tiles of entries]

#import halves
#import choice

@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>, LAYER_WORDS / 4u>; // the layer's tensors
// Binding 1 has the same bytes for the other style.
@group(0) @binding(2) var<storage, read> order: array<u32>; // [tiles of entries, TILE], see group.wgsl
@group(0) @binding(3) var<storage, read> activation: array<vec4<f32>, TOKENS * ACTIVATIONS / 4u>; // [count, (CHOSEN * EXPERT + SHARED) / 4]
@group(0) @binding(4) var<storage, read> choices: array<Choice, max(TOKENS * CHOSEN, 1u)>; // [count, CHOSEN]
@group(0) @binding(5) var<storage, read_write> routed: array<vec4<f32>, TOKENS * CHOSEN * HIDDEN / 4u>; // [count, CHOSEN, HIDDEN / 4]

const ACTIVATIONS: u32 = CHOSEN * EXPERT + SHARED;
const EXPERT_INPUTS: u32 = EXPERT;
const ROWS: u32 = 32u * BLOCKS;
const MATRICES: u32 = 1u;

var<private> input_rows: array<u32, TILE>; // where an entry's activations begin

fn input4(t: u32, i: u32) -> vec4<f32> {
    return activation[input_rows[t] + i];
}

#import tile
#import lanes
#import own
#import held
#import expert_rows
#import entries

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let block = own_block(workgroup.x, local);
    let tile = workgroup.y;
    let slot = slot_of(tile);
    if (block >= HIDDEN / ROWS || slot == EMPTY) {
        return;
    }
    for (var t = 0u; t < TILE; t++) {
        let at = entry_or_first(tile, t);
        input_rows[t] = (at / CHOSEN * ACTIVATIONS + at % CHOSEN * EXPERT) / 4u;
    }
    add_expert_rows(array(slot * (HIDDEN / 32u) + block * BLOCKS), DOWN, DOWN_SCALE / 8u);
    for (var n = 0u; n < OWN_TOKENS; n++) {
        let at = entry(tile, own_token(n));
        if (at == EMPTY) {
            break;
        }
        for (var i = 0u; i < ROWS / 4u; i++) {
            routed[at * (HIDDEN / 4u) + block * (ROWS / 4u) + i] = vec4<f32>(own_sum(4u * i, n), own_sum(4u * i + 1u, n),
                own_sum(4u * i + 2u, n), own_sum(4u * i + 3u, n));
        }
    }
}
