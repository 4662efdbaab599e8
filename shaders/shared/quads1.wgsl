// A tile's values, four of each token. The including kernel imports tile and declares
//   input4(t, i)   values 4i .. 4i+3 of the t-th token
fn inputs(i: u32) -> Inputs {
    return input4(0u, i);
}
