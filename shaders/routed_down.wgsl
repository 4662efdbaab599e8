// routed[entry] = down_k(activation_k), in prefill: a tile of entries shares one read of its expert.
//
// A workgroup owns 32 outputs. Routed matrices are [slot, EXPERT in, HIDDEN out]: 4 words of a row times SPLITS threads down
// the inputs.
// workgroups: [HIDDEN / 32, tiles of entries]

#import numbers
#import choice

@group(0) @binding(1) var<storage, read> words: array<u32>; // the layer's tensors
@group(0) @binding(2) var<storage, read> order: array<u32>; // [tiles of entries, TILE], see group.wgsl
@group(0) @binding(3) var<storage, read> activation: array<vec4<f32>>; // [count, (CHOSEN * EXPERT + SHARED) / 4]
@group(0) @binding(4) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(5) var<storage, read_write> routed: array<vec4<f32>>; // [count, CHOSEN, HIDDEN / 4]

const SPLITS: u32 = 64u;
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;

var<private> rows: array<u32, TILE>; // where an entry's activations begin
var<workgroup> scratch: array<vec4<f32>, 256>;

fn input4(t: u32, i: u32) -> vec4<f32> {
    return activation[rows[t] + i];
}

#import tile
#import entries

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = workgroup.x;
    let tile = workgroup.y;
    let slot = slot_of(tile);
    if (slot == EMPTY) {
        return; // the whole workgroup
    }
    for (var t = 0u; t < TILE; t++) {
        let at = entry_or_first(tile, t);
        rows[t] = (at / CHOSEN * WIDTH + at % CHOSEN * EXPERT) / 4u;
    }
    var low = Outer();
    var high = Outer();
    for (var i = local / 4u; i < EXPERT / 4u; i += SPLITS) {
        let x = inputs(i);
        for (var j = 0u; j < 4u; j++) {
            let at = (slot * EXPERT + 4u * i + j) * (HIDDEN / 32u) + group;
            let value = x[j] * f16_to_f32(half_of(words[(DOWN_SCALE + at) >> 1u], (DOWN_SCALE + at) & 1u));
            let packed = words[(DOWN + at) * 4u + local % 4u];
            low += outer(int4_low(packed), value);
            high += outer(int4_high(packed), value);
        }
    }
    // scratch: [SPLITS, 4 words] of 4 outputs of one token; the low four outputs of every word, then the high four.
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
            var sum = vec4<f32>();
            for (var split = 0u; split < SPLITS; split++) {
                sum += scratch[split * 4u + local];
            }
            routed[(at * HIDDEN + group * 32u + local * 8u) / 4u + half] = sum;
        }
    }
}
