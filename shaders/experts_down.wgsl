// x += sum_k weight_k * down_k(activation_k) + shared_down(activation_shared)
//
// A workgroup owns 32 outputs for a tile of tokens. With one token it computes the chosen experts' part itself; in prefill
// routed_down.wgsl has. Routed matrices are [slot, EXPERT in, HIDDEN out].
// workgroups: [HIDDEN / 32, ceil(count / TILE)]

#import step
#import numbers
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> weights: array<vec4<u32>>; // the layer's tensors
@group(0) @binding(2) var<storage, read> words: array<u32>; // the same bytes
@group(0) @binding(3) var<storage, read> routed: array<f32>; // [count, CHOSEN, HIDDEN]
@group(0) @binding(4) var<storage, read> activation: array<vec4<f32>>; // [count, (CHOSEN * EXPERT + SHARED) / 4]
@group(0) @binding(5) var<storage, read> choices: array<Choice, max(TOKENS * CHOSEN, 1u)>; // [count, CHOSEN]
@group(0) @binding(6) var<storage, read_write> x: array<f32>; // [count, HIDDEN]

const LANES: u32 = 8u; // threads a row of the shared expert: 32 make 256
const WORDS: u32 = 4u; // of a routed row
const STACK: u32 = DOWN;
const STACK_SCALE: u32 = DOWN_SCALE;
const STACK_GROUPS: u32 = HIDDEN / 32u;
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;

var<private> first_token: u32;

fn input4(t: u32, i: u32) -> vec4<f32> {
    return activation[(min(first_token + t, step.count - 1u) * WIDTH + CHOSEN * EXPERT) / 4u + i];
}

// The chosen experts' inputs, one expert behind the other: those of one that is not on the GPU count as 0.
fn routed_input4(t: u32, i: u32) -> vec4<f32> {
    let choice = choices[first_token * CHOSEN + 4u * i / max(EXPERT, 1u)];
    return select(choice.weight, 0.0, choice.slot == EMPTY) * activation[first_token * WIDTH / 4u + i];
}
fn routed_row(i: u32) -> u32 {
    let slot = choices[first_token * CHOSEN + i / max(EXPERT, 1u)].slot;
    return select(slot, 0u, slot == EMPTY) * EXPERT + i % max(EXPERT, 1u);
}

#import staged
#import linear
#import routed

var<workgroup> of_routed: array<vec4<f32>, 8>; // the one token's 32 outputs, their chosen experts' part

fn store_routed(group: u32, local: u32) {
    var sum = Outer();
    add_routed(&sum, local, vec2<u32>(group), CHOSEN * EXPERT);
    let outputs = outer_of_token(&sum, 0u);
    for (var half = 0u; half < 2u; half++) {
        share(local, WORDS, select(outputs[0], outputs[1], half == 1u));
        if (local < 4u) {
            of_routed[2u * local + half] = shared_sum(local, WORDS);
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    first_token = workgroup.y * TILE;
    let group = workgroup.x;
    if (TILE == 1u && CHOSEN > 0u) {
        store_routed(group, local);
    }
    let row = group * 32u + local / LANES;
    let sums = linear(local, SHARED_DOWN + row * (SHARED / 32u), SHARED_DOWN_SCALE + row * (SHARED / 32u), SHARED);
    workgroupBarrier();
    if (local % LANES == 0u) {
        put(local / LANES, sums);
    }
    workgroupBarrier();

    // One thread an output of a token.
    let t = local / 32u;
    let token = first_token + t;
    let i = local % 32u;
    if (t < TILE && token < step.count) {
        var sum = of_token(got(i), t);
        if (TILE == 1u && CHOSEN > 0u) {
            sum += of_routed[i / 4u][i % 4u];
        }
        if (TILE > 1u) {
            for (var k = 0u; k < CHOSEN; k++) {
                let choice = choices[token * CHOSEN + k];
                if (choice.slot != EMPTY) {
                    sum += choice.weight * routed[(token * CHOSEN + k) * HIDDEN + group * 32u + i];
                }
            }
        }
        x[token * HIDDEN + group * 32u + i] += sum;
    }
}
