// Four tokens: four values of each (a column holds one value of the four tokens), and their four sums.
alias Inputs = mat4x4<f32>;
alias Sums = vec4<f32>;
const TOKEN_IN_TILE: Sums = vec4<f32>(0.0, 1.0, 2.0, 3.0);

fn inputs(i: u32) -> Inputs {
    return transpose(mat4x4<f32>(input4(0u, i), input4(1u, i), input4(2u, i), input4(3u, i)));
}
fn weigh(x: Inputs, w: vec4<f32>) -> Sums {
    return x * w;
}
fn placed(x: Inputs, place: vec4<f32>) -> Inputs {
    return mat4x4<f32>(x[0] * place.x, x[1] * place.y, x[2] * place.z, x[3] * place.w);
}
fn of_token(sums: Sums, t: u32) -> f32 {
    return sums[t];
}
