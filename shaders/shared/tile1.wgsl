// One token: four of its values, and a sum over them.
alias Inputs = vec4<f32>;
alias Sums = f32;
const TOKEN_IN_TILE: Sums = 0.0;

fn inputs(i: u32) -> Inputs {
    return input4(0u, i);
}
fn weigh(x: Inputs, w: vec4<f32>) -> Sums {
    return dot(x, w);
}
fn placed(x: Inputs, place: vec4<f32>) -> Inputs {
    return x * place;
}
fn of_token(sums: Sums, t: u32) -> f32 {
    return sums;
}
