// routed[entry] = down_k(activation_k), in prefill: a tile of entries shares one read of its expert. A thread owns 16 outputs.
// Routed matrices are [slot, EXPERT in, HIDDEN out].
// workgroups: [ceil(HIDDEN / 16 / SMALL_WORKGROUP), tiles of entries]

#import halves
#import choice

@group(0) @binding(0) var<storage, read> words: array<u32, LAYER_WORDS>; // the layer's tensors
@group(0) @binding(2) var<storage, read> order: array<u32>; // [tiles of entries, TILE], see group.wgsl
@group(0) @binding(3) var<storage, read> activation: array<vec4<f32>>; // [count, (CHOSEN * EXPERT + SHARED) / 4]
@group(0) @binding(4) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(5) var<storage, read_write> routed: array<vec4<f32>>; // [count, CHOSEN, HIDDEN / 4]

const WIDTH: u32 = CHOSEN * EXPERT + SHARED;

var<private> rows: array<u32, TILE>; // where an entry's activations begin

fn input4(t: u32, i: u32) -> vec4<f32> {
    return activation[rows[t] + i];
}

fn scale_word(i: u32) -> u32 {
    return words[i];
}

#import tile
#import columns
#import entries

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
    let block = thread.x;
    let tile = thread.y;
    let slot = slot_of(tile);
    if (block >= HIDDEN / 16u || slot == EMPTY) {
        return;
    }
    for (var t = 0u; t < TILE; t++) {
        let at = entry_or_first(tile, t);
        rows[t] = (at / CHOSEN * WIDTH + at % CHOSEN * EXPERT) / 4u;
    }
    let groups = HIDDEN / 32u;
    var group = slot * EXPERT * groups + block / 2u;
    var sum = Columns();
    for (var i = 0u; i < EXPERT / 4u; i++) {
        let word = (DOWN + group) * 4u + block % 2u * 2u;
        add_columns(&sum, inputs(i), word, groups * 4u, four_halves_at(DOWN_SCALE + group, groups));
        group += 4u * groups;
    }
    for (var t = 0u; t < TILE; t++) {
        let at = entry(tile, t);
        if (at == EMPTY) {
            break;
        }
        for (var i = 0u; i < 4u; i++) {
            routed[(at * HIDDEN + block * 16u) / 4u + i] = columns_of_token(sum, i, t);
        }
    }
}
