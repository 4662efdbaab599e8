// x += attended Wo^T
// workgroups: [ceil(HIDDEN / ROWS), ceil(count / TILE)]

#import step
#import numbers

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32>; // the same bytes
@group(0) @binding(3) var<storage, read> attended: array<vec4<f32>>; // [splits, count, ATTENDED / 4]
@group(0) @binding(4) var<storage, read> softmax: array<vec2<f32>>; // [splits, count, QUERY_HEADS] largest, sum
@group(0) @binding(5) var<storage, read_write> x: array<f32>; // [count, HIDDEN]

const LANES: u32 = 8u;
const ATTENDED: u32 = QUERY_HEADS * 64u;

var<private> first_token: u32;

#import splits
#import attended

fn input4(t: u32, i: u32) -> vec4<f32> {
    return attended4(min(first_token + t, step.count - 1u), i);
}

#import staged
#import linear

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    first_token = workgroup.y * TILE;
    let row = workgroup.x * ROWS + local / LANES;
    let groups = ATTENDED / 32u;
    let sums = linear(local, WO + row * groups, WO_SCALE + row * groups, ATTENDED);
    if (local % LANES == 0u) {
        for (var t = 0u; t < TILE && first_token + t < step.count; t++) {
            x[(first_token + t) * HIDDEN + row] += of_token(sums, t);
        }
    }
}
