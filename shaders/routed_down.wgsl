// routed[entry] = down_k(activation_k), in prefill: a tile of entries shares one read of its expert.
//
// A workgroup owns 32 outputs. Routed matrices are [slot, EXPERT in, HIDDEN out].
// workgroups: [HIDDEN / 32, tiles of entries]

#import numbers
#import choice

@group(0) @binding(1) var<storage, read> words: array<u32>; // the layer's tensors
@group(0) @binding(2) var<storage, read> order: array<u32>; // [tiles of entries, TILE], see group.wgsl
@group(0) @binding(3) var<storage, read> activation: array<vec4<f32>>; // [count, (CHOSEN * EXPERT + SHARED) / 4]
@group(0) @binding(4) var<storage, read> choices: array<Choice, max(TOKENS * CHOSEN, 1u)>; // [count, CHOSEN]
@group(0) @binding(5) var<storage, read_write> routed: array<vec4<f32>>; // [count, CHOSEN, HIDDEN / 4]

const WORDS: u32 = 4u;
const STACK: u32 = DOWN;
const STACK_SCALE: u32 = DOWN_SCALE;
const STACK_GROUPS: u32 = HIDDEN / 32u;
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;

var<private> firsts: array<u32, TILE>; // where an entry's activations begin
var<private> slot: u32;

fn routed_input4(t: u32, i: u32) -> vec4<f32> {
    return activation[firsts[t] + i];
}
fn routed_row(i: u32) -> u32 {
    return slot * EXPERT + i;
}

#import staged
#import routed
#import entries

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = workgroup.x;
    let tile = workgroup.y;
    let found = slot_of(tile);
    if (found == EMPTY) {
        return; // the whole workgroup
    }
    slot = found;
    for (var t = 0u; t < TILE; t++) {
        let at = entry_or_first(tile, t);
        firsts[t] = (at / CHOSEN * WIDTH + at % CHOSEN * EXPERT) / 4u;
    }
    var sum = Outer();
    add_routed(&sum, local, vec2<u32>(group), EXPERT);
    // The low four outputs of every word, then the high four, of one entry after the other.
    for (var part = 0u; part < 2u * TILE; part++) {
        let t = part / 2u;
        let half = part % 2u;
        let outputs = outer_of_token(&sum, t);
        share(local, WORDS, select(outputs[0], outputs[1], half == 1u));
        let at = entry(tile, t);
        if (local < 4u && at != EMPTY) {
            routed[(at * HIDDEN + group * 32u + local * 8u) / 4u + half] = shared_sum(local, WORDS);
        }
    }
}
