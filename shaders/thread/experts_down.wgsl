// x += sum_k weight_k * down_k(activation_k) + shared_down(activation_shared). A thread owns 16 outputs for a tile of tokens.
//
// With one token it computes the chosen experts' part itself; in prefill routed_down.wgsl has.
// workgroups: [ceil(HIDDEN / 16 / SMALL_WORKGROUP), ceil(count / TILE)]

#import step
#import numbers
#import halves
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> words: array<u32, LAYER_WORDS>; // the layer's tensors
@group(0) @binding(3) var<storage, read> routed: array<f32>; // [count, CHOSEN, HIDDEN]
@group(0) @binding(4) var<storage, read> activation: array<vec4<f32>>; // [count, (CHOSEN * EXPERT + SHARED) / 4]
@group(0) @binding(5) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(6) var<storage, read_write> x: array<f32>; // [count, HIDDEN]

const ROWS: u32 = 16u;
const WIDTH: u32 = CHOSEN * EXPERT + SHARED;

var<private> first_token: u32;
var<private> offset: u32; // of the activations wanted, in a token's row

fn input4(t: u32, i: u32) -> vec4<f32> {
    return activation[(min(first_token + t, step.count - 1u) * WIDTH + offset) / 4u + i];
}
fn scale_word(i: u32) -> u32 {
    return words[i];
}

#import tile
#import group_dot
#import rows
#import columns

// The chosen experts' part of the thread's 16 outputs.
fn routed_sum(block: u32) -> Columns {
    let groups = HIDDEN / 32u;
    var sum = Columns();
    for (var k = 0u; k < CHOSEN; k++) {
        let choice = choices[first_token * CHOSEN + k];
        if (choice.slot == EMPTY) {
            continue;
        }
        offset = k * EXPERT;
        var group = choice.slot * EXPERT * groups + block / 2u;
        for (var i = 0u; i < EXPERT / 4u; i++) {
            let word = (DOWN + group) * 4u + block % 2u * 2u;
            add_columns(&sum, inputs(i) * choice.weight, word, groups * 4u, four_halves_at(DOWN_SCALE + group, groups));
            group += 4u * groups;
        }
    }
    return sum;
}

@compute @workgroup_size(SMALL_WORKGROUP)
fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
    let block = thread.x;
    if (block >= HIDDEN / 16u) {
        return;
    }
    first_token = thread.y * TILE;
    var columns = Columns();
    if (TILE == 1u) {
        columns = routed_sum(block);
    }
    let row = block * 16u * (SHARED / 32u);
    offset = CHOSEN * EXPERT;
    sum_rows(0u, ROWS, (SHARED_DOWN + row) * 4u, SHARED_DOWN_SCALE + row, SHARED);

    for (var t = 0u; t < TILE && first_token + t < step.count; t++) {
        let token = first_token + t;
        for (var i = 0u; i < 4u; i++) {
            var sum = columns_of_token(columns, i, t);
            let at = token * HIDDEN + block * 16u + i * 4u;
            if (TILE > 1u) {
                for (var k = 0u; k < CHOSEN; k++) {
                    let choice = choices[token * CHOSEN + k];
                    if (choice.slot != EMPTY) {
                        let output = (token * CHOSEN + k) * HIDDEN + block * 16u + i * 4u;
                        sum += choice.weight * vec4<f32>(routed[output], routed[output + 1u], routed[output + 2u], routed[output + 3u]);
                    }
                }
            }
            x[at] += sum.x + of_token(sums[4u * i], t);
            x[at + 1u] += sum.y + of_token(sums[4u * i + 1u], t);
            x[at + 2u] += sum.z + of_token(sums[4u * i + 2u], t);
            x[at + 3u] += sum.w + of_token(sums[4u * i + 3u], t);
        }
    }
}
