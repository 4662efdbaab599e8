// Causal grouped-query attention over the cache with an online softmax, 64 positions at a time.
//
// A workgroup owns one KV head and one token, or one split of the cache; it loads each key and value once for the GROUP query heads that share them.
// A token sees the WINDOW last positions, its own included.
// workgroups: [KV_HEADS * splits, count]

#import step
#import splits

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>; // [count, QUERY_HEADS, 16]
@group(0) @binding(2) var<storage, read> cache: array<Row>; // [positions, k|v, KV_HEADS]
@group(0) @binding(3) var<storage, read_write> attended: array<f32>; // [splits, count, QUERY_HEADS, 64]
@group(0) @binding(4) var<storage, read_write> softmax: array<vec2<f32>>; // [splits, count, QUERY_HEADS] largest, sum

var<workgroup> queries: array<vec4<f32>, GROUP * 16u>; // [GROUP, 16]
var<workgroup> scores: array<f32, GROUP * 64u>; // [GROUP, 64 positions]
var<workgroup> shares: array<f32, GROUP * 64u>; // exp(score - maximum)

fn half_pair(word: u32) -> vec2<f32> {
    return unpack2x16float(word);
}

#import cached

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let kv_head = workgroup.x % KV_HEADS;
    let split = workgroup.x / KV_HEADS;
    let token = workgroup.y;
    let first_head = kv_head * GROUP;
    for (var i = local; i < GROUP * 16u; i += 64u) {
        queries[i] = query[(token * QUERY_HEADS + first_head) * 16u + i] * 0.125; // 1 / sqrt(64)
    }
    workgroupBarrier();

    var maximum: array<f32, GROUP>;
    var total: array<f32, GROUP>;
    var sum: array<f32, GROUP>; // of dimension `local`
    for (var g = 0u; g < GROUP; g++) {
        maximum[g] = -1e30;
    }
    let length = step.position + token + 1u;
    let seen = min(length, WINDOW);
    let run = (seen + splits_of(seen) - 1u) / splits_of(seen);
    let begin = min(length - seen + split * run, length);
    let end = min(begin + run, length);
    for (var start = begin; start < end; start += 64u) {
        // Thread = position: its score against every query of the group.
        let position = start + local;
        // Cleared by hand: Chromium on SwiftShader keeps an array's values from one round of a loop to the next.
        var dots: array<f32, GROUP>;
        for (var g = 0u; g < GROUP; g++) {
            dots[g] = 0.0;
        }
        if (position < end) {
            let row = position * 2u * KV_HEADS + kv_head;
            for (var i = 0u; i < 16u; i++) {
                let key = quad4(cache[row].quads[i]);
                for (var g = 0u; g < GROUP; g++) {
                    dots[g] += dot(key, queries[g * 16u + i]);
                }
            }
            for (var g = 0u; g < GROUP; g++) {
                dots[g] *= row_scale(row);
            }
        }
        for (var g = 0u; g < GROUP; g++) {
            scores[g * 64u + local] = select(-1e30, dots[g], position < end);
        }
        workgroupBarrier();
        for (var g = 0u; g < GROUP; g++) {
            var larger = maximum[g];
            for (var i = 0u; i < 64u; i++) {
                larger = max(larger, scores[g * 64u + i]);
            }
            let shrink = exp(maximum[g] - larger);
            total[g] *= shrink;
            sum[g] *= shrink;
            maximum[g] = larger;
            shares[g * 64u + local] = select(0.0, exp(scores[g * 64u + local] - larger), position < end);
        }
        workgroupBarrier();
        // Thread = dimension: its share of every value.
        let here = min(64u, end - start);
        for (var i = 0u; i < here; i++) {
            let row = ((start + i) * 2u + 1u) * KV_HEADS + kv_head;
            let value = quad4(cache[row].quads[local / 4u])[local % 4u] * row_scale(row);
            for (var g = 0u; g < GROUP; g++) {
                let share = shares[g * 64u + i];
                total[g] += share;
                sum[g] += share * value;
            }
        }
    }
    for (var g = 0u; g < GROUP; g++) {
        let row = (split * step.count + token) * QUERY_HEADS + first_head + g;
        attended[row * 64u + local] = sum[g] / max(total[g], 1e-30); // a split may have nothing to see
        if (local == 0u) {
            softmax[row] = vec2<f32>(maximum[g], total[g]);
        }
    }
}
