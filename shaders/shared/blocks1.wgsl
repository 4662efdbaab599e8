// A tile's values, 32 of each token. The including kernel imports tile and block, and declares
//   inputs32(t, block)   values 32 * block .. + 32 of the t-th token (already normalised, if need be)
alias Inputs32 = array<Inputs, 8>;

fn inputs_of_all(block: u32) -> Inputs32 {
    let a = inputs32(0u, block);
    return Inputs32(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}
