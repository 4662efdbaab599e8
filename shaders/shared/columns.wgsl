// y = x W for an INT4 matrix W [in, out] with a scale for 32 outputs, by one thread, for TILE tokens at once.
//
// A thread owns 16 outputs, two words of every input's row. The including kernel declares words, scale_word and a tile.

struct Columns {
    low0: Outer,
    high0: Outer,
    low1: Outer,
    high1: Outer,
    bias: Sums, // what the nibbles' bias of 8 has to be taken off by
}

// Adds four inputs' parts: of each, two words of its row from `word` on, rows being `stride` words apart; and their scales.
fn add_columns(sum: ptr<function, Columns>, x: Inputs, word: u32, stride: u32, scales: vec4<f32>) {
    let a = x[0] * scales.x;
    let b = x[1] * scales.y;
    let c = x[2] * scales.z;
    let d = x[3] * scales.w;
    let qa = words[word] ^ BIASED;
    let qb = words[word + stride] ^ BIASED;
    let qc = words[word + 2u * stride] ^ BIASED;
    let qd = words[word + 3u * stride] ^ BIASED;
    (*sum).low0 += outer(nibbles_low(qa), a) + outer(nibbles_low(qb), b) + outer(nibbles_low(qc), c) + outer(nibbles_low(qd), d);
    (*sum).high0 += outer(nibbles_high(qa), a) + outer(nibbles_high(qb), b) + outer(nibbles_high(qc), c) + outer(nibbles_high(qd), d);
    let ra = words[word + 1u] ^ BIASED;
    let rb = words[word + stride + 1u] ^ BIASED;
    let rc = words[word + 2u * stride + 1u] ^ BIASED;
    let rd = words[word + 3u * stride + 1u] ^ BIASED;
    (*sum).low1 += outer(nibbles_low(ra), a) + outer(nibbles_low(rb), b) + outer(nibbles_low(rc), c) + outer(nibbles_low(rd), d);
    (*sum).high1 += outer(nibbles_high(ra), a) + outer(nibbles_high(rb), b) + outer(nibbles_high(rc), c) + outer(nibbles_high(rd), d);
    (*sum).bias += a + b + c + d;
}

// Outputs 4i .. 4i+3 of the 16, of one token.
fn columns_of_token(sum: Columns, i: u32, t: u32) -> vec4<f32> {
    let bias = of_token(sum.bias, t);
    switch i {
        case 0u: { return outer_of_token(sum.low0, t) * PLACE_LOW + BIAS_LOW * bias; }
        case 1u: { return outer_of_token(sum.high0, t) * PLACE_HIGH + BIAS_HIGH * bias; }
        case 2u: { return outer_of_token(sum.low1, t) * PLACE_LOW + BIAS_LOW * bias; }
        default: { return outer_of_token(sum.high1, t) * PLACE_HIGH + BIAS_HIGH * bias; }
    }
}
