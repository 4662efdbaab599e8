// Causal grouped-query attention over the cache with an online softmax, 64 positions at a time.
//
// A thread owns HEADS of the query heads that share a KV head, of one token or of one split of the cache: it loads and unpacks
// a key or value once for all of them. What a position is weighed with stays in registers: hence the indices written out.
// A token sees the WINDOW last positions, its own included.
// workgroups: [ceil(KV_HEADS * PARTS * splits / SMALL_WORKGROUP), count]

#import step
#import splits
#import heads

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> query: array<vec4<f32>>; // [count, QUERY_HEADS, 16]
@group(0) @binding(2) var<storage, read> cache: array<Row>; // [positions, k|v, KV_HEADS]
@group(0) @binding(3) var<storage, read_write> attended: array<vec4<f32>>; // [splits, count, QUERY_HEADS, 16]
@group(0) @binding(4) var<storage, read_write> softmax: array<vec2<f32>>; // [splits, count, QUERY_HEADS] largest, sum

const PARTS: u32 = (GROUP + HEADS - 1u) / HEADS; // threads that share out the query heads of a KV head
const BLOCK: u32 = 64u;

// What halves are multiplied by, by way of what they are weighed with: half_pair leaves their exponents as they are.
const UNIT: f32 = select(1.0, 0x1p112, KV_BITS == 16u);

// Without shifts, which software adapters run lane by lane: bits move by multiplication, or by adding a float so large that
// what is added ends up in its low bits. Subnormal halves may become zero.
fn half_pair(word: u32) -> vec2<f32> {
    let low = (word & 0x7fffu) * 0x2000u;
    let high = bitcast<u32>(f32(bitcast<i32>(word & 0x7fff0000u)) + 0x1p39) * 0x2000u;
    let signs = vec2<u32>(word * 0x10000u, word) & vec2<u32>(0x80000000u);
    return bitcast<vec2<f32>>(vec2<u32>(low, high) | signs);
}

#import cached

var<private> q: array<Dimensions, 16>; // the queries
var<private> sums: array<Dimensions, 16>; // of values, each times its share
// [BLOCK, SMALL_WORKGROUP]; each thread sees its own. Here because compilers unfold private arrays that are indexed freely.
var<workgroup> scores: array<Heads, BLOCK * SMALL_WORKGROUP>;

fn outer(share: Heads, value: vec4<f32>) -> Dimensions {
    return Dimensions(share * value.x, share * value.y, share * value.z, share * value.w);
}
fn scaled(sum: Dimensions, by: Heads) -> Dimensions {
    return Dimensions(sum[0] * by, sum[1] * by, sum[2] * by, sum[3] * by);
}

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let part = thread.x % (KV_HEADS * PARTS);
    let split = thread.x / (KV_HEADS * PARTS);
    let token = thread.y;
    let length = step.position + token + 1u;
    let seen = min(length, WINDOW);
    let splits = splits_of(seen);
    if (split >= splits) {
        return;
    }
    let run = (seen + splits - 1u) / splits;
    let begin = min(length - seen + split * run, length);
    let end = min(begin + run, length);

    let kv_head = part / PARTS;
    let first_head = kv_head * GROUP + part % PARTS * HEADS;
    let last = min(HEADS, (kv_head + 1u) * GROUP - first_head) - 1u;
    for (var i = 0u; i < 16u; i++) {
        q[i] = queries((token * QUERY_HEADS + first_head) * 16u + i, last) * (0.125 * UNIT); // 1 / sqrt(64)
        sums[i] = Dimensions();
    }
    var maximum = Heads(-1e30);
    var total = Heads();
    for (var start = begin; start < end; start += BLOCK) {
        let here = min(BLOCK, end - start);
        var row = start * 2u * KV_HEADS + kv_head;
        var larger = maximum;
        for (var p = 0u; p < here; p++) {
            let key = &cache[row];
            let score = q[0] * quad4((*key).quads[0])
                + q[1] * quad4((*key).quads[1])
                + q[2] * quad4((*key).quads[2])
                + q[3] * quad4((*key).quads[3])
                + q[4] * quad4((*key).quads[4])
                + q[5] * quad4((*key).quads[5])
                + q[6] * quad4((*key).quads[6])
                + q[7] * quad4((*key).quads[7])
                + q[8] * quad4((*key).quads[8])
                + q[9] * quad4((*key).quads[9])
                + q[10] * quad4((*key).quads[10])
                + q[11] * quad4((*key).quads[11])
                + q[12] * quad4((*key).quads[12])
                + q[13] * quad4((*key).quads[13])
                + q[14] * quad4((*key).quads[14])
                + q[15] * quad4((*key).quads[15]);
            let scaled = score * row_scale(row);
            scores[p * SMALL_WORKGROUP + local] = scaled;
            larger = max(larger, scaled);
            row += 2u * KV_HEADS;
        }
        let shrink = exp(maximum - larger);
        maximum = larger;
        total *= shrink;
        for (var i = 0u; i < 16u; i++) {
            sums[i] = scaled(sums[i], shrink);
        }
        row = (start * 2u + 1u) * KV_HEADS + kv_head;
        for (var p = 0u; p < here; p++) {
            let value = &cache[row];
            var share = exp(scores[p * SMALL_WORKGROUP + local] - maximum);
            total += share;
            share *= row_scale(row) * UNIT;
            sums[0] += outer(share, quad4((*value).quads[0]));
            sums[1] += outer(share, quad4((*value).quads[1]));
            sums[2] += outer(share, quad4((*value).quads[2]));
            sums[3] += outer(share, quad4((*value).quads[3]));
            sums[4] += outer(share, quad4((*value).quads[4]));
            sums[5] += outer(share, quad4((*value).quads[5]));
            sums[6] += outer(share, quad4((*value).quads[6]));
            sums[7] += outer(share, quad4((*value).quads[7]));
            sums[8] += outer(share, quad4((*value).quads[8]));
            sums[9] += outer(share, quad4((*value).quads[9]));
            sums[10] += outer(share, quad4((*value).quads[10]));
            sums[11] += outer(share, quad4((*value).quads[11]));
            sums[12] += outer(share, quad4((*value).quads[12]));
            sums[13] += outer(share, quad4((*value).quads[13]));
            sums[14] += outer(share, quad4((*value).quads[14]));
            sums[15] += outer(share, quad4((*value).quads[15]));
            row += 2u * KV_HEADS;
        }
    }
    let row = (split * step.count + token) * QUERY_HEADS + first_head;
    for (var h = 0u; h < HEADS; h++) {
        if (h <= last) {
            softmax[row + h] = vec2<f32>(maximum[h], total[h]);
        }
    }
    let share = 1.0 / max(total, Heads(1e-30)); // a split may have nothing to see
    for (var i = 0u; i < 16u; i++) {
        write_attended(row * 16u + i, last, scaled(sums[i], share));
    }
}
