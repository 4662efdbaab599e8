// h = rmsnorm(x) * norm; q, k, v = h Wq^T, h Wk^T, h Wv^T; RoPE and QK-norm on q and k; k and v go into the cache.
//
// LANES threads own OWN_HEADS heads (of 64 rows).
// workgroups: [ceil((QUERY_HEADS + 2 * KV_HEADS) / OWN_HEADS * LANES / SMALL_WORKGROUP), ceil(count / TILE)]

#import step
#import numbers
#import halves
#import pack8

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>, LAYER_WORDS / 4u>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32, LAYER_WORDS>; // the same bytes
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>, TOKENS * HIDDEN / 4u>; // [count, HIDDEN / 4]
@group(0) @binding(4) var<storage, read> rope: array<vec2<f32>>; // [positions, 32] cos, sin
@group(0) @binding(5) var<storage, read_write> query: array<vec2<f32>, TOKENS * QUERY_HEADS * 32u>; // [count, QUERY_HEADS, 32] pairs
@group(0) @binding(6) var<storage, read_write> cache: array<u32>; // [positions, k|v, KV_HEADS] rows

const WIDTH: u32 = HIDDEN;
const ROWS: u32 = 64u;
const MATRICES: u32 = OWN_HEADS;
const HEADS: u32 = QUERY_HEADS + 2u * KV_HEADS; // queries, keys, values

var<private> input_rows: array<u32, TILE>;
var<private> head_pairs: array<vec2<f32>, 32>; // a rotated key or value, on its way to bytes

#import inverse_rms

fn input4(t: u32, i: u32) -> vec4<f32> {
    return measured(t, input_rows[t] + i) * bf16x4(vec2<u32>(words[NORM + 2u * i], words[NORM + 2u * i + 1u]));
}

fn scale_word(i: u32) -> u32 {
    return words[i];
}

#import tile
#import lanes
#import own
#import held
#import rows

// Where a head's matrix begins: its first group of weights, and its first scale, counted in halves.
fn head_weight(head: u32) -> vec2<u32> {
    const HEAD_GROUPS = 64u * HIDDEN / 32u;
    if (head >= QUERY_HEADS + KV_HEADS) {
        return vec2<u32>(WV, WV_SCALE) + (head - QUERY_HEADS - KV_HEADS) * HEAD_GROUPS;
    }
    if (head >= QUERY_HEADS) {
        return vec2<u32>(WK, WK_SCALE) + (head - QUERY_HEADS) * HEAD_GROUPS;
    }
    return vec2<u32>(WQ, WQ_SCALE) + head * HEAD_GROUPS;
}

// Sum `i` of the thread's n-th head, for its t-th token.
fn head_sum(n: u32, i: u32, t: u32) -> f32 {
    return own_sum(64u * n + i, t);
}

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first_head = own_block(workgroup.x, local) * OWN_HEADS;
    if (first_head >= HEADS) {
        return;
    }
    let first_token = workgroup.y * TILE;
    for (var t = 0u; t < TILE; t++) {
        input_rows[t] = min(first_token + t, step.count - 1u) * (HIDDEN / 4u);
    }
    var weight: array<u32, OWN_HEADS>;
    var scale: array<u32, OWN_HEADS>;
    for (var n = 0u; n < OWN_HEADS; n++) {
        let begin = head_weight(first_head + n);
        weight[n] = begin.x;
        scale[n] = begin.y;
    }
    add_rows(0u, weight, scale);
    measure_rms();
    for (var t = 0u; t < OWN_TOKENS && first_token + own_token(t) < step.count; t++) {
        for (var n = 0u; n < OWN_HEADS; n++) {
            finish(n, first_head + n, t, first_token + own_token(t));
        }
    }
}

// Rotation, norm, and where the n-th of the thread's heads goes.
fn finish(n: u32, head: u32, t: u32, token: u32) {
    let position = step.position + token;
    // The inputs had no part of it: it is the same for every sum.
    var factor = inverse_rms[own_token(t)];
    if (ROPE && QK_NORM && head < QUERY_HEADS + KV_HEADS) {
        // A rotation keeps the norm, so the unrotated head serves.
        var squares = 0.0;
        for (var i = 0u; i < 64u; i++) {
            let value = factor * head_sum(n, i, t);
            squares += value * value;
        }
        factor *= inverseSqrt(squares / 64.0 + EPS);
    }
    let row = (position * 2u + (head - QUERY_HEADS) / KV_HEADS) * KV_HEADS + (head - QUERY_HEADS) % KV_HEADS;
    var largest = 0.0;
    for (var j = 0u; j < 32u; j++) {
        var pair = factor * vec2<f32>(head_sum(n, 2u * j, t), head_sum(n, 2u * j + 1u, t));
        if (ROPE && head < QUERY_HEADS + KV_HEADS) {
            let angle = rope[position * 32u + j];
            pair = vec2<f32>(pair.x * angle.x - pair.y * angle.y, pair.x * angle.y + pair.y * angle.x);
        }
        if (head < QUERY_HEADS) {
            query[(token * QUERY_HEADS + head) * 32u + j] = pair;
        } else if (KV_BITS == 32u) {
            cache[row * 64u + 2u * j] = bitcast<u32>(pair.x);
            cache[row * 64u + 2u * j + 1u] = bitcast<u32>(pair.y);
        } else if (KV_BITS == 16u) {
            cache[row * 32u + j] = pack2x16float(pair);
        } else {
            head_pairs[j] = pair;
            largest = max(largest, max(abs(pair.x), abs(pair.y)));
        }
    }
    if (KV_BITS == 8u && head >= QUERY_HEADS) {
        let scale = scale8(largest);
        cache[row * 17u] = bitcast<u32>(scale);
        for (var i = 0u; i < 16u; i++) {
            cache[row * 17u + 1u + i] = pack8(vec4<f32>(head_pairs[2u * i], head_pairs[2u * i + 1u]), 1.0 / scale);
        }
    }
}
