// 1 / rms(x) of the tile's tokens, into inverse_rms. The including kernel imports staged, declares x: array<vec4<f32>>
// [tokens, HIDDEN], and calls this from every one of its 256 threads.

var<workgroup> inverse_rms: array<f32, TILE>;

fn measure_rms(local: u32, first_token: u32) {
    let t = local % TILE;
    var sum = 0.0;
    for (var i = local / TILE; i < HIDDEN / 4u; i += 256u / TILE) {
        let value = x[(first_token + t) * (HIDDEN / 4u) + i];
        sum += dot(value, value);
    }
    share(local, TILE, vec4<f32>(sum, 0.0, 0.0, 0.0));
    if (local < TILE) {
        inverse_rms[local] = inverseSqrt(shared_sum(local, TILE).x / f32(HIDDEN) + EPS);
    }
    workgroupBarrier();
}
