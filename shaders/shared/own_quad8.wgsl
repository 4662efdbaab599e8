// What a thread keeps of a row's sums: the whole sums of two of eight tokens.
alias Own = vec2<f32>;

fn own(sums: Sums) -> Own {
    return Own(across(sums[0]), across(sums[1]));
}
// Of row i, for the n-th token that the thread keeps sums of.
fn own_sum(i: u32, n: u32) -> f32 {
    return sums[i][n];
}
