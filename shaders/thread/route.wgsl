// h = rmsnorm(x) * norm; s = sigmoid(W_router h) in f32; chosen = top-k of (s + bias), ties to the lower index;
// weight = s[chosen] / (sum(s[chosen]) + 1e-20) * SCALING. Each expert is looked up in the page table: what follows
// reads slots, not experts. A dense layer (EXPERTS == 0) only needs h.
//
// A workgroup owns a tile of tokens, a thread eight experts: it loads an input once for them, and a weight once for the tile.
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
@group(0) @binding(6) var<storage, read_write> choices: array<Choice>; // [count, CHOSEN]
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

    for (var first = local * 8u; first < EXPERTS; first += THREADS * 8u) {
        // The last experts again where there are no eight.
        let experts = min(vec4<u32>(first, first + 1u, first + 2u, first + 3u), vec4<u32>(EXPERTS - 1u));
        let experts2 = min(vec4<u32>(first + 4u, first + 5u, first + 6u, first + 7u), vec4<u32>(EXPERTS - 1u));
        let rows = vec4<u32>(ROUTER) + experts * (HIDDEN / 4u);
        let rows2 = vec4<u32>(ROUTER) + experts2 * (HIDDEN / 4u);
        var sum0 = Sums();
        var sum1 = Sums();
        var sum2 = Sums();
        var sum3 = Sums();
        var sum4 = Sums();
        var sum5 = Sums();
        var sum6 = Sums();
        var sum7 = Sums();
        for (var i = 0u; i < HIDDEN / 4u; i++) {
            let values = inputs(i);
            sum0 += weigh(values, bitcast<vec4<f32>>(weights[rows.x + i]));
            sum1 += weigh(values, bitcast<vec4<f32>>(weights[rows.y + i]));
            sum2 += weigh(values, bitcast<vec4<f32>>(weights[rows.z + i]));
            sum3 += weigh(values, bitcast<vec4<f32>>(weights[rows.w + i]));
            sum4 += weigh(values, bitcast<vec4<f32>>(weights[rows2.x + i]));
            sum5 += weigh(values, bitcast<vec4<f32>>(weights[rows2.y + i]));
            sum6 += weigh(values, bitcast<vec4<f32>>(weights[rows2.z + i]));
            sum7 += weigh(values, bitcast<vec4<f32>>(weights[rows2.w + i]));
        }
        for (var t = 0u; t < TILE; t++) {
            keep_score(t * EXPERTS, experts.x, of_token(sum0, t));
            keep_score(t * EXPERTS, experts.y, of_token(sum1, t));
            keep_score(t * EXPERTS, experts.z, of_token(sum2, t));
            keep_score(t * EXPERTS, experts.w, of_token(sum3, t));
            keep_score(t * EXPERTS, experts2.x, of_token(sum4, t));
            keep_score(t * EXPERTS, experts2.y, of_token(sum5, t));
            keep_score(t * EXPERTS, experts2.z, of_token(sum6, t));
            keep_score(t * EXPERTS, experts2.w, of_token(sum7, t));
        }
    }
    workgroupBarrier();
    if (local < tokens && EXPERTS > 0u) {
        choose(first_token + local, local * EXPERTS);
    }
}
