// Causal grouped-query attention over the cache with an online softmax, 64 positions at a time.
//
// A thread owns HEADS of the query heads that share a KV head, of one token or of one split of the cache: a key or value is loaded
// and unpacked once for all of them, and for LANES neighbouring tokens. What a position is weighed with stays in registers:
// hence the indices written out. A token sees the WINDOW last positions, its own included.
// workgroups: [ceil(KV_HEADS * PARTS * splits * LANES / SMALL_WORKGROUP), ceil(count / LANES)]

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
#import lanes
#import loaded

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
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let block = own_block(workgroup.x, local);
    let part = block % (KV_HEADS * PARTS);
    let split = block / (KV_HEADS * PARTS);
    // What the lanes see together begins with what the first does, and ends with what the last does.
    let first_token = workgroup.y * LANES;
    let token = min(first_token + lane, step.count - 1u);
    let length = step.position + token + 1u;
    let unseen = length - min(length, WINDOW);
    let first_length = step.position + first_token + 1u;
    let last_length = step.position + min(first_token + LANES, step.count);
    let first_seen = min(first_length, WINDOW);
    let splits = splits_of(first_seen);
    if (split >= splits) {
        return;
    }
    let run = (first_seen + splits - 1u) / splits;
    let begin = min(first_length - first_seen + split * run, last_length);
    let end = select(last_length, min(begin + run, last_length), SPLITS > 1u);

    let kv_head = part / PARTS;
    let first_head = kv_head * GROUP + part % PARTS * HEADS;
    let last = min(HEADS, (kv_head + 1u) * GROUP - first_head) - 1u;
    for (var i = 0u; i < 16u; i++) {
        q[i] = queries((token * QUERY_HEADS + first_head) * 16u + place(i), last) * (0.125 * UNIT); // 1 / sqrt(64)
        sums[i] = Dimensions();
    }
    var maximum = Heads(-1e30);
    var total = Heads();
    for (var start = begin; start < end; start += BLOCK) {
        let here = min(BLOCK, end - start);
        var row = start * 2u * KV_HEADS + kv_head;
        var larger = maximum;
        for (var p = 0u; p < here; p++) {
            let k = loaded(row);
            let score = q[0] * k[0] + q[1] * k[1] + q[2] * k[2] + q[3] * k[3] + q[4] * k[4] + q[5] * k[5] + q[6] * k[6] + q[7] * k[7]
                + q[8] * k[8] + q[9] * k[9] + q[10] * k[10] + q[11] * k[11] + q[12] * k[12] + q[13] * k[13] + q[14] * k[14]
                + q[15] * k[15];
            var scaled = score * row_scale(row);
            if (LANES > 1u) {
                let is_seen = start + p >= unseen && start + p < length;
                scaled = select(Heads(-1e30), scaled, is_seen);
            }
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
            let v = loaded(row);
            var share = exp(scores[p * SMALL_WORKGROUP + local] - maximum);
            total += share;
            share *= row_scale(row) * UNIT;
            sums[0] += outer(share, v[0]);
            sums[1] += outer(share, v[1]);
            sums[2] += outer(share, v[2]);
            sums[3] += outer(share, v[3]);
            sums[4] += outer(share, v[4]);
            sums[5] += outer(share, v[5]);
            sums[6] += outer(share, v[6]);
            sums[7] += outer(share, v[7]);
            sums[8] += outer(share, v[8]);
            sums[9] += outer(share, v[9]);
            sums[10] += outer(share, v[10]);
            sums[11] += outer(share, v[11]);
            sums[12] += outer(share, v[12]);
            sums[13] += outer(share, v[13]);
            sums[14] += outer(share, v[14]);
            sums[15] += outer(share, v[15]);
            row += 2u * KV_HEADS;
        }
    }
    if (first_token + lane >= step.count) {
        return;
    }
    let row = (split * step.count + token) * QUERY_HEADS + first_head;
    for (var h = 0u; h < HEADS; h++) {
        if (h <= last) {
            softmax[row + h] = vec2<f32>(maximum[h], total[h]);
        }
    }
    let share = 1.0 / max(total, Heads(1e-30)); // a split may have nothing to see
    for (var i = 0u; i < 16u; i++) {
        write_attended(row * 16u + place(i), last, scaled(sums[i], share));
    }
}
