// h = rmsnorm(x) * norm; q, k, v = h Wq^T, h Wk^T, h Wv^T; RoPE and QK-norm on q and k; k and v go into the cache.
//
// A workgroup owns one head (64 rows), so that the rotation and the norm of the head need nobody else.
// workgroups: [QUERY_HEADS + 2 * KV_HEADS, ceil(count / TILE)]

#import step
#import numbers
#import pack8

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32>; // the same bytes
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>; // [count, HIDDEN / 4]
@group(0) @binding(4) var<storage, read> rope: array<vec2<f32>>; // [positions, 32] cos, sin
@group(0) @binding(5) var<storage, read_write> query: array<vec2<f32>>; // [count, QUERY_HEADS, 32] pairs
@group(0) @binding(6) var<storage, read_write> cache: array<u32>; // [positions, k|v, KV_HEADS] rows

const LANES: u32 = 4u; // threads a row: the head's 64 rows make 256

fn input4(t: u32, i: u32) -> vec4<f32> {
    let token = min(first_token + t, step.count - 1u);
    let norm = bf16x4(vec2<u32>(words[NORM + 2u * i], words[NORM + 2u * i + 1u]));
    return x[token * (HIDDEN / 4u) + i] * inverse_rms[t] * norm;
}

#import staged
#import linear
#import tile_rms

var<private> first_token: u32;
var<workgroup> rotated: array<vec2<f32>, TILE * 32u>; // keys or values on their way to bytes

// Dimensions 2j and 2j + 1 of a token's head, once its rows are in scratch.
fn head_pair(t: u32, j: u32) -> vec2<f32> {
    return vec2<f32>(of_token(got(2u * j), t), of_token(got(2u * j + 1u), t));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    first_token = workgroup.y * TILE;
    measure_rms(local, first_token);

    let head = workgroup.x;
    let row = local / LANES;
    var weight = WQ;
    var scale = WQ_SCALE;
    var matrix_row = head * 64u + row;
    if (head >= QUERY_HEADS + KV_HEADS) {
        weight = WV;
        scale = WV_SCALE;
        matrix_row -= (QUERY_HEADS + KV_HEADS) * 64u;
    } else if (head >= QUERY_HEADS) {
        weight = WK;
        scale = WK_SCALE;
        matrix_row -= QUERY_HEADS * 64u;
    }
    let groups = HIDDEN / 32u;
    let sums = linear(local, weight + matrix_row * groups, scale + matrix_row * groups, HIDDEN);
    workgroupBarrier();
    if (local % LANES == 0u) {
        put(row, sums);
    }
    workgroupBarrier();

    // One thread a pair (2j, 2j + 1).
    let t = local / 32u;
    let j = local % 32u;
    let token = first_token + t;
    let position = step.position + token;
    let in_use = t < TILE && token < step.count;
    var pair = vec2<f32>();
    if (in_use) {
        pair = head_pair(t, j);
        if (ROPE && head < QUERY_HEADS + KV_HEADS) {
            let angle = rope[position * 32u + j];
            pair = vec2<f32>(pair.x * angle.x - pair.y * angle.y, pair.x * angle.y + pair.y * angle.x);
            if (QK_NORM) {
                // A rotation keeps the norm, so the unrotated head serves.
                var sum = 0.0;
                for (var i = 0u; i < 32u; i++) {
                    sum += dot(head_pair(t, i), head_pair(t, i));
                }
                pair *= inverseSqrt(sum / 64.0 + EPS);
            }
        }
    }
    let cached_row = (position * 2u + (head - QUERY_HEADS) / KV_HEADS) * KV_HEADS + (head - QUERY_HEADS) % KV_HEADS;
    if (head < QUERY_HEADS) {
        if (in_use) {
            query[(token * QUERY_HEADS + head) * 32u + j] = pair;
        }
    } else if (KV_BITS == 32u) {
        if (in_use) {
            cache[cached_row * 64u + 2u * j] = bitcast<u32>(pair.x);
            cache[cached_row * 64u + 2u * j + 1u] = bitcast<u32>(pair.y);
        }
    } else if (KV_BITS == 16u) {
        if (in_use) {
            cache[cached_row * 32u + j] = pack2x16float(pair);
        }
    } else {
        // The head is the workgroup's, so everyone comes here.
        if (t < TILE) {
            rotated[t * 32u + j] = pair;
        }
        workgroupBarrier();
        if (in_use && j < 16u) {
            var largest = 0.0;
            for (var i = 0u; i < 32u; i++) {
                let value = abs(rotated[t * 32u + i]);
                largest = max(largest, max(value.x, value.y));
            }
            let scale = scale8(largest);
            if (j == 0u) {
                cache[cached_row * 17u] = bitcast<u32>(scale);
            }
            let values = vec4<f32>(rotated[t * 32u + 2u * j], rotated[t * 32u + 2u * j + 1u]);
            cache[cached_row * 17u + 1u + j] = pack8(values, 1.0 / scale);
        }
    }
}
