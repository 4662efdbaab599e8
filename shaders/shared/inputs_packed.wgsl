// Inputs as bytes: multiples of their block's largest / 127. Of eight inputs the even ones are in a word, the odd ones in the
// next, because a weights' word gives even and odd nibbles with one mask each: as the high halves of bytes, 16 times too large.
const ROW_STEP: u32 = 2u;
fn first_input(i: u32) -> u32 {
    return 8u * (i / 2u) + i % 2u;
}

var<workgroup> bytes: array<u32, KEPT>;
var<workgroup> scales: array<f32, KEPT / 8u>;

fn keep(local: u32, a: vec4<f32>, b: vec4<f32>) {
    let scale = int8_scale(largest_of_four(local, largest_of(a, b)));
    if (2u * local < KEPT) {
        bytes[2u * local] = pack4xI8(vec4<i32>(round(vec4<f32>(a.xz, b.xz) / scale)));
        bytes[2u * local + 1u] = pack4xI8(vec4<i32>(round(vec4<f32>(a.yw, b.yw) / scale)));
        if (local % 4u == 0u) {
            scales[local / 4u] = scale;
        }
    }
}
fn block_scale(x: u32) -> f32 {
    return scales[x / 8u];
}

const HIGH: vec4<u32> = vec4<u32>(0xf0f0f0f0u);

// A group of 32 weights, or four rows of eight: even ones, odd ones.
struct Weights {
    even: vec4<u32>,
    odd: vec4<u32>,
}
fn weights_of(packed: vec4<u32>) -> Weights {
    return Weights((packed << vec4<u32>(4u)) & HIGH, packed & HIGH);
}
fn word_dot(w: Weights, x: u32) -> f32 {
    let sum = dot4I8Packed(w.even.x, bytes[x]) + dot4I8Packed(w.odd.x, bytes[x + 1u])
        + dot4I8Packed(w.even.y, bytes[x + 2u]) + dot4I8Packed(w.odd.y, bytes[x + 3u])
        + dot4I8Packed(w.even.z, bytes[x + 4u]) + dot4I8Packed(w.odd.z, bytes[x + 5u])
        + dot4I8Packed(w.even.w, bytes[x + 6u]) + dot4I8Packed(w.odd.w, bytes[x + 7u]);
    return f32(sum) * 0.0625;
}
fn group_dots(packed: vec4<u32>, x: u32) -> Sums {
    return times(word_dots(weights_of(packed), x), block_scales(x));
}

// Bytes k of four words become word k.
fn transposed(w: vec4<u32>) -> vec4<u32> {
    let xy_even = (w.x & 0x00ff00ffu) | ((w.y & 0x00ff00ffu) << 8u);
    let xy_odd = ((w.x >> 8u) & 0x00ff00ffu) | (w.y & 0xff00ff00u);
    let zw_even = (w.z & 0x00ff00ffu) | ((w.w & 0x00ff00ffu) << 8u);
    let zw_odd = ((w.z >> 8u) & 0x00ff00ffu) | (w.w & 0xff00ff00u);
    return vec4<u32>(
        (xy_even & 0xffffu) | (zw_even << 16u),
        (xy_odd & 0xffffu) | (zw_odd << 16u),
        (xy_even >> 16u) | (zw_even & 0xffff0000u),
        (xy_odd >> 16u) | (zw_odd & 0xffff0000u),
    );
}

// A word of four inputs' weights for each of eight outputs.
alias Rows = Weights;
fn rows_of(q: vec4<u32>) -> Rows {
    let w = weights_of(q);
    return Weights(transposed(w.even), transposed(w.odd));
}
fn outer(w: Rows, x: u32) -> mat2x4<f32> {
    let inputs = bytes[x];
    let low = vec4<i32>(
        dot4I8Packed(w.even.x, inputs),
        dot4I8Packed(w.odd.x, inputs),
        dot4I8Packed(w.even.y, inputs),
        dot4I8Packed(w.odd.y, inputs),
    );
    let high = vec4<i32>(
        dot4I8Packed(w.even.z, inputs),
        dot4I8Packed(w.odd.z, inputs),
        dot4I8Packed(w.even.w, inputs),
        dot4I8Packed(w.odd.w, inputs),
    );
    return mat2x4<f32>(vec4<f32>(low), vec4<f32>(high)) * (block_scale(x) * 0.0625);
}
