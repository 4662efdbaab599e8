//! INT8 dynamic activations: each row is rounded to -127..=127 times its own scale before a linear layer reads it.
//! Gradients pass as if nothing had been rounded (straight through).

/// A row's largest magnitude becomes 127.
pub fn quantize_rows(x: &mut [f32], width: usize) {
    for row in x.chunks_exact_mut(width) {
        let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        if largest > 0.0 {
            let (scale, inverse) = (largest / 127.0, 127.0 / largest);
            row.iter_mut().for_each(|x| *x = round_ties_even(*x * inverse) * scale);
        }
    }
}

/// For magnitudes below 2^22: adding this number rounds. Unlike the library's function it vectorizes everywhere.
fn round_ties_even(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    (x + ROUND) - ROUND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_to_steps_of_their_own_scale() {
        let mut x = [127.0, 2.5, -1.4, 0.6, 0.0, 0.0, 0.0, 0.0];
        quantize_rows(&mut x, 4);
        assert_eq!(x, [127.0, 2.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
