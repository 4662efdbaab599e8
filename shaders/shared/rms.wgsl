// 1 / rms(x) of the tile's tokens, into inverse_rms. The including kernel declares x: array<vec4<f32>> [tokens, HIDDEN],
// THREADS (the workgroup's size, a multiple of TILE) and calls this from every thread.

var<workgroup> squares: array<f32, THREADS>;
var<workgroup> inverse_rms: array<f32, TILE>;

fn measure_rms(local: u32, first_token: u32) {
    let t = local % TILE;
    var sum = 0.0;
    for (var i = local / TILE; i < HIDDEN / 4u; i += THREADS / TILE) {
        let value = x[(first_token + t) * (HIDDEN / 4u) + i];
        sum += dot(value, value);
    }
    squares[local] = sum;
    workgroupBarrier();
    if (local < TILE) {
        var total = 0.0;
        for (var i = local; i < THREADS; i += TILE) {
            total += squares[i];
        }
        inverse_rms[local] = inverseSqrt(total / f32(HIDDEN) + EPS);
    }
    workgroupBarrier();
}
