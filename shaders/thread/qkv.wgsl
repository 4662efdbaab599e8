// h = rmsnorm(x) * norm; q, k, v = h Wq^T, h Wk^T, h Wv^T; RoPE and QK-norm on q and k; k and v go into the cache.
//
// A thread owns one head (64 rows).
// workgroups: [ceil((QUERY_HEADS + 2 * KV_HEADS) / SMALL_WORKGROUP), ceil(count / TILE)]

#import step
#import numbers
#import halves

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> words: array<u32, LAYER_WORDS>; // the layer's tensors
@group(0) @binding(2) var<storage, read> norm: array<vec2<u32>, LAYER_WORDS / 2u>; // the same bytes, for 4 BF16
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>; // [count, HIDDEN / 4]
@group(0) @binding(4) var<storage, read> rope: array<vec2<f32>>; // [positions, 32] cos, sin
@group(0) @binding(5) var<storage, read_write> query: array<vec2<f32>>; // [count, QUERY_HEADS, 32] pairs
@group(0) @binding(6) var<storage, read_write> cache: array<u32>; // [positions, k|v, KV_HEADS, 64], f16 pairs or f32

const ROWS: u32 = 64u;

var<private> first_token: u32;

fn input4(t: u32, i: u32) -> vec4<f32> {
    return x[min(first_token + t, step.count - 1u) * (HIDDEN / 4u) + i] * bf16x4(norm[NORM / 2u + i]);
}

fn scale_word(i: u32) -> u32 {
    return words[i];
}

#import tile
#import rows
#import inverse_rms

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
    let head = thread.x;
    if (head >= QUERY_HEADS + 2u * KV_HEADS) {
        return;
    }
    first_token = thread.y * TILE;
    var weight = WQ;
    var scale = WQ_SCALE;
    var matrix_row = head * 64u;
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
    sum_rows(0u, 64u, (weight + matrix_row * groups) * 4u, scale + matrix_row * groups, HIDDEN);

    for (var t = 0u; t < TILE; t++) {
        let token = first_token + t;
        if (token >= step.count) {
            break;
        }
        let position = step.position + token;
        // The inputs had no part of it: it is the same for every sum.
        var factor = inverse_rms(token);
        if (ROPE && QK_NORM && head < QUERY_HEADS + KV_HEADS) {
            // A rotation keeps the norm, so the unrotated head serves.
            var squares = 0.0;
            for (var i = 0u; i < 64u; i++) {
                let value = factor * of_token(sums[i], t);
                squares += value * value;
            }
            factor *= inverseSqrt(squares / 64.0 + EPS);
        }
        for (var j = 0u; j < 32u; j++) {
            var pair = factor * vec2<f32>(of_token(sums[2u * j], t), of_token(sums[2u * j + 1u], t));
            if (ROPE && head < QUERY_HEADS + KV_HEADS) {
                let angle = rope[position * 32u + j];
                pair = vec2<f32>(pair.x * angle.x - pair.y * angle.y, pair.x * angle.y + pair.y * angle.x);
            }
            if (head < QUERY_HEADS) {
                query[(token * QUERY_HEADS + head) * 32u + j] = pair;
            } else {
                let kv_head = (head - QUERY_HEADS) % KV_HEADS;
                let is_value = (head - QUERY_HEADS) / KV_HEADS;
                let at = ((position * 2u + is_value) * KV_HEADS + kv_head) * 32u + j;
                if (KV_F16) {
                    cache[at] = pack2x16float(pair);
                } else {
                    cache[2u * at] = bitcast<u32>(pair.x);
                    cache[2u * at + 1u] = bitcast<u32>(pair.y);
                }
            }
        }
    }
}
