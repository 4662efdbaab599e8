// h = rmsnorm(x) * norm; s = sigmoid(W_router h) in f32; chosen = top-k of (s + bias), ties to the lower index;
// weight = s[chosen] / (sum(s[chosen]) + 1e-20) * SCALING. Each expert is looked up in the page table: what follows
// reads slots, not experts. A dense layer (EXPERTS == 0) only needs h.
//
// A workgroup owns a token; LANES threads share an expert's dot product.
// workgroups: [count]

#import step
#import numbers
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32>; // the same bytes
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>; // [count, HIDDEN / 4]
@group(0) @binding(4) var<storage, read> page_table: array<u32>; // [EXPERTS] slots, then the layer's index
@group(0) @binding(5) var<storage, read_write> h: array<vec4<f32>>; // [count, HIDDEN / 4]
@group(0) @binding(6) var<storage, read_write> choices: array<Choice, max(TOKENS * CHOSEN, 1u)>; // [count, CHOSEN]
@group(0) @binding(7) var<storage, read_write> fault: array<u32>; // 0, or 1 + layer * EXPERTS + expert, of any missing one

const LANES: u32 = 4u;

#import rms

var<workgroup> dots: array<f32, THREADS>;
var<workgroup> scores: array<f32, max(EXPERTS, 1u)>; // s
var<workgroup> biased: array<f32, max(EXPERTS, 1u)>; // s + bias

#import choose

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let token = workgroup.x;
    let row = token * (HIDDEN / 4u);
    measure_rms(local, token);
    for (var i = local; i < HIDDEN / 4u; i += THREADS) {
        let norm = bf16x4(vec2<u32>(words[NORM + 2u * i], words[NORM + 2u * i + 1u]));
        h[row + i] = x[row + i] * inverse_rms[0] * norm;
    }
    storageBarrier();

    for (var first = 0u; first < EXPERTS; first += THREADS / LANES) {
        let expert = first + local / LANES;
        var sum = 0.0;
        if (expert < EXPERTS) {
            for (var i = local % LANES; i < HIDDEN / 4u; i += LANES) {
                sum += dot(bitcast<vec4<f32>>(weights[ROUTER + expert * (HIDDEN / 4u) + i]), h[row + i]);
            }
        }
        dots[local] = sum;
        workgroupBarrier();
        if (local % LANES == 0u && expert < EXPERTS) {
            var logit = dots[local];
            for (var lane = 1u; lane < LANES; lane++) {
                logit += dots[local + lane];
            }
            keep_score(0u, expert, logit);
        }
        workgroupBarrier();
    }

    if (local == 0u && EXPERTS > 0u) {
        choose(token, 0u);
    }
}
