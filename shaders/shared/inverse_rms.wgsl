// 1 / rms(x) of each token of a tile, by one thread that reads all its inputs: found along with them. The including kernel
// imports block and declares x: array<Block, ...>.

var<private> squares: array<f32, TILE>;

// 32 values of x, which count.
fn measured(t: u32, i: u32) -> Block {
    let v = x[i];
    squares[t] += dot(v[0], v[0]) + dot(v[1], v[1]) + dot(v[2], v[2]) + dot(v[3], v[3])
        + dot(v[4], v[4]) + dot(v[5], v[5]) + dot(v[6], v[6]) + dot(v[7], v[7]);
    return v;
}

// Multiplied with 32 BF16.
fn weighted(v: Block, norm: array<vec4<u32>, 4>) -> Block {
    return Block(
        v[0] * bf16x4(norm[0].xy), v[1] * bf16x4(norm[0].zw), v[2] * bf16x4(norm[1].xy), v[3] * bf16x4(norm[1].zw),
        v[4] * bf16x4(norm[2].xy), v[5] * bf16x4(norm[2].zw), v[6] * bf16x4(norm[3].xy), v[7] * bf16x4(norm[3].zw),
    );
}

// Once all have been read.
fn inverse_rms(t: u32) -> f32 {
    return inverseSqrt(squares[t] / f32(HIDDEN) + EPS);
}
