// What a thread keeps of a row's sums: the whole sum of one of four tokens.
alias Own = f32;

fn own(sums: Sums) -> Own {
    return across(sums);
}
// Of row i, for the n-th token that the thread keeps sums of.
fn own_sum(i: u32, n: u32) -> f32 {
    return sums[i];
}
