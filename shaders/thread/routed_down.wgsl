// routed[entry] = down_k(activation_k), in prefill: a tile of entries shares one read of its expert. A thread owns 32 outputs.
// Routed matrices are [slot, EXPERT in, HIDDEN out].
// workgroups: [ceil(HIDDEN / 32 / SMALL_WORKGROUP), tiles of entries]

#import halves
#import choice
#import block

@group(0) @binding(0) var<storage, read> weights: array<vec4<u32>, LAYER_WORDS / 4u>; // the layer's tensors
@group(0) @binding(1) var<storage, read> words: array<u32, LAYER_WORDS>; // the same bytes
@group(0) @binding(2) var<storage, read> order: array<u32>; // [tiles of entries, ENTRIES], see group.wgsl
@group(0) @binding(3) var<storage, read> activation: array<Block, TOKENS * ACTIVATIONS / 32u>; // [count, (CHOSEN * EXPERT + SHARED) / 32]
@group(0) @binding(4) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(5) var<storage, read_write> routed: array<vec4<f32>, TOKENS * CHOSEN * HIDDEN / 4u>; // [count, CHOSEN, HIDDEN / 4]

const ACTIVATIONS: u32 = CHOSEN * EXPERT + SHARED;
const IN: u32 = EXPERT;
const OUT_GROUPS: u32 = HIDDEN / 32u;
const OWN: u32 = 1u;

var<private> own: u32; // the thread's group of outputs
var<private> rows: array<u32, ENTRIES>; // where an entry's activations begin

fn inputs32(e: u32, block: u32) -> Block {
    return activation[rows[e] + block];
}
fn scale_word(i: u32) -> u32 {
    return words[i];
}
fn own_group(n: u32) -> u32 {
    return own;
}

#import column_groups
#import columns
#import entries

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
    own = thread.x;
    let tile = thread.y;
    let slot = slot_of(tile);
    if (own >= OUT_GROUPS || slot == EMPTY) {
        return;
    }
    var count = 0u;
    for (var e = 0u; e < ENTRIES; e++) {
        let at = entry(tile, e);
        if (at == EMPTY) {
            break;
        }
        rows[e] = (at / CHOSEN * ACTIVATIONS + at % CHOSEN * EXPERT) / 32u;
        count++;
    }
    let row = slot * EXPERT * OUT_GROUPS;
    sum_columns(count, DOWN + row, DOWN_SCALE + row);
    for (var e = 0u; e < count; e++) {
        for (var i = 0u; i < 8u; i++) {
            routed[entry(tile, e) * (HIDDEN / 4u) + own * 8u + i] = columns_of(0u, e, i);
        }
    }
}
