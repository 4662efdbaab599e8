// Causal grouped-query attention over the cache with an online softmax, 4 positions at a time.
//
// A thread owns one query head of one token, or of one split of the cache. A token sees the WINDOW last positions, its own
// included.
// workgroups: [ceil(QUERY_HEADS / SMALL_WORKGROUP), count, splits]

#import step
#import splits

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>; // [count, QUERY_HEADS, 16]
@group(0) @binding(2) var<storage, read> cache: array<u32>; // [positions, k|v, KV_HEADS] rows
@group(0) @binding(3) var<storage, read_write> attended: array<vec4<f32>>; // [splits, count, QUERY_HEADS, 16]
@group(0) @binding(4) var<storage, read_write> softmax: array<vec2<f32>>; // [splits, count, QUERY_HEADS] largest, sum

// Without conversion: exponents moved by multiplying. Subnormal halves may become zero.
fn half_pair(word: u32) -> vec2<f32> {
    let halves = bitcast<vec2<i32>>(vec2<u32>(word * 0x10000u, word)) >> vec2<u32>(3u);
    return bitcast<vec2<f32>>(bitcast<vec2<u32>>(halves) & vec2<u32>(0x8fffe000u)) * 0x1p112;
}

#import cached

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
    let head = thread.x;
    let token = thread.y;
    let split = thread.z;
    if (head >= QUERY_HEADS) {
        return;
    }
    let length = step.position + token + 1u;
    let seen = min(length, WINDOW);
    let run = (seen + splits_of(seen) - 1u) / splits_of(seen);
    let begin = min(length - seen + split * run, length);
    let end = min(begin + run, length);

    let query_row = (token * QUERY_HEADS + head) * 16u;
    var maximum = -1e30;
    var total = 0.0;
    var sum: array<vec4<f32>, 16>;
    for (var i = 0u; i < 16u; i++) {
        sum[i] = vec4<f32>();
    }
    for (var start = begin; start < end; start += 4u) {
        let positions = vec4<u32>(start) + vec4<u32>(0u, 1u, 2u, 3u);
        let keys = min(positions, vec4<u32>(end - 1u)) * 2u * KV_HEADS + head / GROUP;
        let values = keys + KV_HEADS;
        var scores = vec4<f32>();
        for (var i = 0u; i < 16u; i++) {
            let q = query[query_row + i];
            scores += vec4<f32>(
                dot(q, cached4(keys.x, i)),
                dot(q, cached4(keys.y, i)),
                dot(q, cached4(keys.z, i)),
                dot(q, cached4(keys.w, i)),
            );
        }
        scores = select(vec4<f32>(-1e30), scores * 0.125, positions < vec4<u32>(end)); // 1 / sqrt(64)
        let larger = max(max(maximum, max(scores.x, scores.y)), max(scores.z, scores.w));
        let shrink = exp(maximum - larger);
        let shares = exp(scores - larger);
        maximum = larger;
        total = total * shrink + dot(shares, vec4<f32>(1.0));
        for (var i = 0u; i < 16u; i++) {
            sum[i] = sum[i] * shrink + shares.x * cached4(values.x, i) + shares.y * cached4(values.y, i)
                + shares.z * cached4(values.z, i) + shares.w * cached4(values.w, i);
        }
    }
    let row = (split * step.count + token) * QUERY_HEADS + head;
    softmax[row] = vec2<f32>(maximum, total);
    for (var i = 0u; i < 16u; i++) {
        attended[row * 16u + i] = sum[i] / max(total, 1e-30); // a split may have nothing to see
    }
}
