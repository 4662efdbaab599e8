// Causal grouped-query attention over the cache with an online softmax, 64 positions at a time.
//
// A workgroup owns one KV head and a tile of tokens, or one split of the cache; it loads each key and value once for the GROUP
// query heads of all tokens of the tile. A token sees the WINDOW last positions, its own included.
// workgroups: [KV_HEADS * splits, ceil(count / TILE)]

#import step
#import splits

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>; // [count, QUERY_HEADS, 16]
@group(0) @binding(2) var<storage, read> cache: array<Row>; // [positions, k|v, KV_HEADS]
@group(0) @binding(3) var<storage, read_write> attended: array<f32>; // [splits, count, QUERY_HEADS, 64]
@group(0) @binding(4) var<storage, read_write> softmax: array<vec2<f32>>; // [splits, count, QUERY_HEADS] largest, sum

fn half_pair(word: u32) -> vec2<f32> {
    return unpack2x16float(word);
}

#import cached

var<private> first_token: u32;
var<private> first_head: u32;

fn input4(t: u32, i: u32) -> vec4<f32> {
    let token = min(first_token + t, step.count - 1u);
    return query[(token * QUERY_HEADS + first_head) * 16u + i] * 0.125; // 1 / sqrt(64)
}

#import tile

var<workgroup> queries: array<Inputs, GROUP * 16u>; // [GROUP, 16]
var<workgroup> scores: array<Sums, GROUP * 64u>; // [GROUP, 64 positions]
var<workgroup> shares: array<Sums, GROUP * 64u>; // exp(score - maximum)

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let kv_head = workgroup.x % KV_HEADS;
    let split = workgroup.x / KV_HEADS;
    let tile = workgroup.y * TILE;
    first_token = tile;
    first_head = kv_head * GROUP;
    for (var i = local; i < GROUP * 16u; i += 64u) {
        queries[i] = inputs(i);
    }
    workgroupBarrier();

    var maximum: array<Sums, GROUP>;
    var total: array<Sums, GROUP>;
    var sum: array<Sums, GROUP>; // of dimension `local`
    for (var g = 0u; g < GROUP; g++) {
        maximum[g] = Sums(-1e30);
    }
    // The first token's run of positions; it is the only token, or the only run. The others of a tile see a position more each.
    let tokens = min(TILE, step.count - tile);
    let length = step.position + tile + 1u;
    let seen = min(length, WINDOW);
    let run = (seen + splits_of(seen) - 1u) / splits_of(seen);
    let begin = min(length - seen + split * run, length);
    let end = min(begin + run, length) + tokens - 1u;
    // In floats, as there are vectors of them: exact up to 2^24 positions.
    let lengths = Sums(f32(length)) + TOKEN_IN_TILE;
    let windows = lengths - f32(WINDOW);
    for (var start = begin; start < end; start += 64u) {
        // Thread = position: its score against every query of the group.
        let position = start + local;
        // Cleared by hand: Chromium on SwiftShader keeps an array's values from one round of a loop to the next.
        var dots: array<Sums, GROUP>;
        for (var g = 0u; g < GROUP; g++) {
            dots[g] = Sums();
        }
        if (position < end) {
            let row = position * 2u * KV_HEADS + kv_head;
            for (var i = 0u; i < 16u; i++) {
                let key = quad4(cache[row].quads[i]) * row_scale(row);
                for (var g = 0u; g < GROUP; g++) {
                    dots[g] += weigh(queries[g * 16u + i], key);
                }
            }
        }
        let place = select(1e9, f32(position), position < end);
        for (var g = 0u; g < GROUP; g++) {
            let score = select(dots[g], Sums(-1e30), Sums(place) >= lengths);
            scores[g * 64u + local] = select(score, Sums(-1e30), Sums(place) < windows);
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
            shares[g * 64u + local] = exp(scores[g * 64u + local] - larger); // every token sees a position of its first 64
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
    for (var t = 0u; t < tokens; t++) {
        for (var g = 0u; g < GROUP; g++) {
            let row = (split * step.count + tile + t) * QUERY_HEADS + first_head + g;
            let found = of_token(total[g], t);
            attended[row * 64u + local] = of_token(sum[g], t) / max(found, 1e-30); // a split may have nothing to see
            if (local == 0u) {
                softmax[row] = vec2<f32>(of_token(maximum[g], t), found);
            }
        }
    }
}
