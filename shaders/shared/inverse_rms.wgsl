// 1 / rms(x) of each token of a tile, by one thread that reads all its inputs: found along with them. The including kernel
// declares x: array<vec4<f32>, ...>.

var<private> squares: array<f32, TILE>;
var<private> inverse_rms: array<f32, TILE>;

// Four values of x, which count.
fn measured(t: u32, i: u32) -> vec4<f32> {
    let values = x[i];
    squares[t] += dot(values, values);
    return values;
}

// Once all have been read.
fn measure_rms() {
    for (var t = 0u; t < TILE; t++) {
        inverse_rms[t] = inverseSqrt(over_lanes(squares[t]) / f32(HIDDEN) + EPS);
    }
}
