// What a thread keeps of a row's sums: those of all tokens of the tile.
alias Own = Sums;

fn own(sums: Sums) -> Own {
    return sums;
}
// Of row i, for the n-th token that the thread keeps sums of.
fn own_sum(i: u32, n: u32) -> f32 {
    return of_token(sums[i], n);
}
