// x[token] = embedding[id]: one row of the INT4 matrix, dequantized.

#import step
#import numbers

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> tokens: array<u32>; // [count]
@group(0) @binding(2) var<storage, read> embedding: array<u32>; // [VOCAB, HIDDEN / 8]
@group(0) @binding(3) var<storage, read> scales: array<u32>; // [VOCAB, HIDDEN / 32] f16
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>; // [count, HIDDEN / 4]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let token = workgroup.x;
    let id = tokens[token];
    for (var i = local; i < HIDDEN / 8u; i += 64u) {
        let word = embedding[id * (HIDDEN / 8u) + i];
        let at = id * (HIDDEN / 32u) + i / 4u;
        let scale = f16_to_f32(half_of(scales[at >> 1u], at & 1u));
        x[token * (HIDDEN / 4u) + 2u * i] = scale * int4_low(word);
        x[token * (HIDDEN / 4u) + 2u * i + 1u] = scale * int4_high(word);
    }
}
