// h = rmsnorm(x) * norm; s = sigmoid(W_router h) in f32; chosen = top-k of (s + bias), ties to the lower index;
// weight = s[chosen] / (sum(s[chosen]) + 1e-20) * SCALING. Each expert is looked up in the page table: what follows
// reads slots, not experts. A dense layer (EXPERTS == 0) only needs h.
//
// A workgroup owns a tile of tokens, which share a weight that is loaded.
// workgroups: [ceil(count / TILE)]

#import step
#import numbers
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>, LAYER_WORDS / 4u>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32, LAYER_WORDS>; // the same bytes
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>, TOKENS * HIDDEN / 4u>; // [count, HIDDEN / 4]
@group(0) @binding(4) var<storage, read> page_table: array<u32>; // [EXPERTS] slots, then the layer's index
@group(0) @binding(5) var<storage, read_write> h: array<vec4<f32>, TOKENS * HIDDEN / 4u>; // [count, HIDDEN / 4]
@group(0) @binding(6) var<storage, read_write> choices: array<Choice, max(TOKENS * CHOSEN, 1u)>; // [count, CHOSEN]
@group(0) @binding(7) var<storage, read_write> fault: array<u32>; // 0, or 1 + layer * EXPERTS + expert, of any missing one

var<workgroup> scores: array<f32, max(TILE * EXPERTS, 1u)>; // [TILE, EXPERTS] s
var<workgroup> biased: array<f32, max(TILE * EXPERTS, 1u)>; // s + bias
var<private> first_token: u32;

#import rms
#import choose

fn input4(t: u32, i: u32) -> vec4<f32> {
    return h[min(first_token + t, step.count - 1u) * (HIDDEN / 4u) + i];
}

#import tile
#import router

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    first_token = workgroup.x * TILE;
    let tokens = min(TILE, step.count - first_token);
    measure_rms(local, first_token);
    for (var i = local; i < HIDDEN / 4u; i += THREADS) {
        let norm = bf16x4(vec2<u32>(words[NORM + 2u * i], words[NORM + 2u * i + 1u]));
        for (var t = 0u; t < tokens; t++) {
            let at = (first_token + t) * (HIDDEN / 4u) + i;
            h[at] = x[at] * inverse_rms[t] * norm;
        }
    }
    storageBarrier();

    score_experts(local);
    workgroupBarrier();
    if (local < tokens && EXPERTS > 0u) {
        choose(first_token + local, local * EXPERTS);
    }
}
