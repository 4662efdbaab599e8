// x += attended Wo^T. LANES threads own ROWS rows. The splits of the cache are put together by all threads of a workgroup, once.
// workgroups: [ceil(HIDDEN / ROWS * LANES / SMALL_WORKGROUP), ceil(count / TILE)]

#import step
#import halves

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>, LAYER_WORDS / 4u>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32, LAYER_WORDS>; // the same bytes
@group(0) @binding(3) var<storage, read> attended: array<vec4<f32>, ATTENDED_ROWS * ATTENDED / 4u>; // [splits, count, ATTENDED / 4]
@group(0) @binding(4) var<storage, read> softmax: array<vec2<f32>>; // [splits, count, QUERY_HEADS] largest, sum
@group(0) @binding(5) var<storage, read_write> x: array<f32, TOKENS * HIDDEN>; // [count, HIDDEN]

const ATTENDED: u32 = QUERY_HEADS * 64u;
const WIDTH: u32 = ATTENDED;
const MATRICES: u32 = 1u;

var<private> first_token: u32;

#import splits
#import attended

var<workgroup> joined: array<vec4<f32>, select(ATTENDED / 4u, 1u, SPLITS == 1u)>; // one token's inputs, of all splits

fn input4(t: u32, i: u32) -> vec4<f32> {
    if (SPLITS > 1u) {
        return joined[i];
    }
    return attended4(min(first_token + t, step.count - 1u), i);
}

fn scale_word(i: u32) -> u32 {
    return words[i];
}

#import tile
#import lanes
#import own
#import held
#import rows

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    if (SPLITS > 1u) {
        for (var head = 0u; head < QUERY_HEADS; head++) {
            measure_shares(head);
            for (var i = local; i < 16u; i += SMALL_WORKGROUP) {
                joined[head * 16u + i] = joined4(head * 16u + i);
            }
        }
        workgroupBarrier();
    }
    let row = own_block(workgroup.x, local) * ROWS;
    if (row >= HIDDEN) {
        return;
    }
    first_token = workgroup.y * TILE;
    add_rows(row, array(WO), array(WO_SCALE));
    for (var n = 0u; n < OWN_TOKENS && first_token + own_token(n) < step.count; n++) {
        for (var r = 0u; r < ROWS; r++) {
            x[(first_token + own_token(n)) * HIDDEN + row + r] += own_sum(r, n);
        }
    }
}
