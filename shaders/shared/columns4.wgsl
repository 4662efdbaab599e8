// y = x W for an INT4 matrix W [in, out] with a scale for 32 outputs, by one thread, for all entries of a tile.
//
// A thread holds the nibbles of 32 inputs and 32 outputs, each 16^k times too large, k being its place in a word, and passes
// over the entries with them, then the next 32 inputs. What it costs to load and unpack them is shared by up to ENTRIES, and
// nothing is computed for places that no entry has. The including kernel imports block and declares
//   weights, scale_word(i)    as for rows.wgsl
//   inputs32(e, block)        inputs 32 * block .. + 32 of entry e
//   IN                        inputs, a multiple of 32
//   OUT_GROUPS                groups of 32 outputs in a row of W
//   OWN                       groups that a thread has
//   own_group(n)              which its n-th one is in a row

var<private> columns: array<Block, OWN * ENTRIES>; // [OWN, ENTRIES]: the outputs, on the way 16^k times too large
var<private> biases: array<f32, ENTRIES>; // sums of inputs times their scales: what the nibbles' bias of 8 has to be taken off by

// `weight`: the first group of the first input's row; `scale`: its scale, counted in halves.
fn sum_columns(count: u32, weight: u32, scale: u32) {
    for (var n = 0u; n < OWN; n++) {
        for (var e = 0u; e < count; e++) {
            columns[n * ENTRIES + e] = Block();
            biases[e] = 0.0;
        }
        pass_over_entries(count, n * ENTRIES, weight + own_group(n), scale + own_group(n));
        for (var e = 0u; e < count; e++) {
            for (var i = 0u; i < 8u; i++) {
                columns[n * ENTRIES + e][i] = without_bias(columns[n * ENTRIES + e][i], biases[e], i);
            }
        }
    }
}

// Outputs 4i .. 4i+3 of the n-th group, of an entry.
fn columns_of(n: u32, entry: u32, i: u32) -> vec4<f32> {
    return columns[n * ENTRIES + entry][i];
}

fn pass_over_entries(count: u32, first: u32, weight: u32, scale: u32) {
    let half = half_factor(scale);
    for (var block = 0u; block < IN / 32u; block++) {
        let row = block * 32u * OUT_GROUPS;
        let at = scale + row;
        let word = scale / 2u + row / 2u;
        let s0 = scales_of_four(at + 0u * OUT_GROUPS, word + 0u * OUT_GROUPS, half);
        let s1 = scales_of_four(at + 4u * OUT_GROUPS, word + 2u * OUT_GROUPS, half);
        let s2 = scales_of_four(at + 8u * OUT_GROUPS, word + 4u * OUT_GROUPS, half);
        let s3 = scales_of_four(at + 12u * OUT_GROUPS, word + 6u * OUT_GROUPS, half);
        let s4 = scales_of_four(at + 16u * OUT_GROUPS, word + 8u * OUT_GROUPS, half);
        let s5 = scales_of_four(at + 20u * OUT_GROUPS, word + 10u * OUT_GROUPS, half);
        let s6 = scales_of_four(at + 24u * OUT_GROUPS, word + 12u * OUT_GROUPS, half);
        let s7 = scales_of_four(at + 28u * OUT_GROUPS, word + 14u * OUT_GROUPS, half);
        let w0 = quad(weight + row + 0u * OUT_GROUPS);
        let w1 = quad(weight + row + 4u * OUT_GROUPS);
        let w2 = quad(weight + row + 8u * OUT_GROUPS);
        let w3 = quad(weight + row + 12u * OUT_GROUPS);
        let w4 = quad(weight + row + 16u * OUT_GROUPS);
        let w5 = quad(weight + row + 20u * OUT_GROUPS);
        let w6 = quad(weight + row + 24u * OUT_GROUPS);
        let w7 = quad(weight + row + 28u * OUT_GROUPS);
        // As many rounds for all: a loop whose end is a constant is spared the browser's guard against endless ones.
        for (var e = 0u; e < ENTRIES; e++) {
            if (e >= count) {
                break;
            }
            let x = inputs32(e, block);
            let x0 = x[0] * s0;
            let x1 = x[1] * s1;
            let x2 = x[2] * s2;
            let x3 = x[3] * s3;
            let x4 = x[4] * s4;
            let x5 = x[5] * s5;
            let x6 = x[6] * s6;
            let x7 = x[7] * s7;
            biases[e] += dot(x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7, vec4<f32>(1.0));
            let y = columns[first + e];
            columns[first + e] = Block(
                y[0] + w0.m0 * x0 + w1.m0 * x1 + w2.m0 * x2 + w3.m0 * x3 + w4.m0 * x4 + w5.m0 * x5 + w6.m0 * x6 + w7.m0 * x7,
                y[1] + w0.m1 * x0 + w1.m1 * x1 + w2.m1 * x2 + w3.m1 * x3 + w4.m1 * x4 + w5.m1 * x5 + w6.m1 * x6 + w7.m1 * x7,
                y[2] + w0.m2 * x0 + w1.m2 * x1 + w2.m2 * x2 + w3.m2 * x3 + w4.m2 * x4 + w5.m2 * x5 + w6.m2 * x6 + w7.m2 * x7,
                y[3] + w0.m3 * x0 + w1.m3 * x1 + w2.m3 * x2 + w3.m3 * x3 + w4.m3 * x4 + w5.m3 * x5 + w6.m3 * x6 + w7.m3 * x7,
                y[4] + w0.m4 * x0 + w1.m4 * x1 + w2.m4 * x2 + w3.m4 * x3 + w4.m4 * x4 + w5.m4 * x5 + w6.m4 * x6 + w7.m4 * x7,
                y[5] + w0.m5 * x0 + w1.m5 * x1 + w2.m5 * x2 + w3.m5 * x3 + w4.m5 * x4 + w5.m5 * x5 + w6.m5 * x6 + w7.m5 * x7,
                y[6] + w0.m6 * x0 + w1.m6 * x1 + w2.m6 * x2 + w3.m6 * x3 + w4.m6 * x4 + w5.m6 * x5 + w6.m6 * x6 + w7.m6 * x7,
                y[7] + w0.m7 * x0 + w1.m7 * x1 + w2.m7 * x2 + w3.m7 * x3 + w4.m7 * x4 + w5.m7 * x5 + w6.m7 * x6 + w7.m7 * x7,
            );
        }
    }
}

// Four inputs' nibbles: for each four outputs a matrix, a column an input.
struct Quad {
    m0: mat4x4<f32>,
    m1: mat4x4<f32>,
    m2: mat4x4<f32>,
    m3: mat4x4<f32>,
    m4: mat4x4<f32>,
    m5: mat4x4<f32>,
    m6: mat4x4<f32>,
    m7: mat4x4<f32>,
}

fn quad(at: u32) -> Quad {
    let a = weights[at] ^ vec4<u32>(BIASED);
    let b = weights[at + OUT_GROUPS] ^ vec4<u32>(BIASED);
    let c = weights[at + 2u * OUT_GROUPS] ^ vec4<u32>(BIASED);
    let d = weights[at + 3u * OUT_GROUPS] ^ vec4<u32>(BIASED);
    return Quad(
        low(a.x, b.x, c.x, d.x), high(a.x, b.x, c.x, d.x),
        low(a.y, b.y, c.y, d.y), high(a.y, b.y, c.y, d.y),
        low(a.z, b.z, c.z, d.z), high(a.z, b.z, c.z, d.z),
        low(a.w, b.w, c.w, d.w), high(a.w, b.w, c.w, d.w),
    );
}
fn low(a: u32, b: u32, c: u32, d: u32) -> mat4x4<f32> {
    return mat4x4<f32>(nibbles_low(a), nibbles_low(b), nibbles_low(c), nibbles_low(d));
}
fn high(a: u32, b: u32, c: u32, d: u32) -> mat4x4<f32> {
    return mat4x4<f32>(nibbles_high(a), nibbles_high(b), nibbles_high(c), nibbles_high(d));
}
