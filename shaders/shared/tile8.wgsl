// Eight tokens: four values of each (the first four tokens' and the others': a column holds one value of four tokens), and
// their eight sums.
alias Inputs = array<mat4x4<f32>, 2>;
alias Sums = mat2x4<f32>;

fn inputs(i: u32) -> Inputs {
    return Inputs(
        transpose(mat4x4<f32>(input4(0u, i), input4(1u, i), input4(2u, i), input4(3u, i))),
        transpose(mat4x4<f32>(input4(4u, i), input4(5u, i), input4(6u, i), input4(7u, i))),
    );
}
fn weigh(x: Inputs, w: vec4<f32>) -> Sums {
    return Sums(x[0] * w, x[1] * w);
}
fn placed4(x: mat4x4<f32>, place: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(x[0] * place.x, x[1] * place.y, x[2] * place.z, x[3] * place.w);
}
fn placed(x: Inputs, place: vec4<f32>) -> Inputs {
    return Inputs(placed4(x[0], place), placed4(x[1], place));
}
