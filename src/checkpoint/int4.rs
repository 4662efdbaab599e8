//! The INT4 g32 format: 32 weights share one f16 scale; a weight is a two's-complement nibble times that scale.
//!
//! # The quantization rule
//!
//! For BF16 checkpoints. Every step is exact or correctly rounded, so a GPU kernel can do the same, bit for bit.
//!
//! 1. `low` = the largest |w| among the negative weights of the group, `high` = the largest among the others.
//! 2. The larger one is given the code -8, the end of the range that reaches further:
//!    `scale = low / 8` if `low >= high`, else `-high / 8`; rounded to f16, half to even. (Scales may be negative.)
//! 3. `q` = the integer nearest to `w / scale` by that *rounded* scale, half to even, clamped to -8..=7; all 0 if the
//!    scale rounded to 0. For BF16 weights f32 division decides every case correctly; a kernel whose division does not
//!    round correctly compares |w| with (k + 1/2) |scale|, which f32 holds exactly.
//!
//! Relative squared error on gaussian BF16 weights: 0.0074. With `scale = max |w| / 7` it is 0.0094, with `max |w| / 7.5`
//! 0.0090, with `max(-min w / 8, max w / 7)` 0.0084 (the test `the_rule_beats_its_alternatives` prints them).
//!
//! A group that holds an infinity or a NaN, or that needs a scale beyond f16, gets a scale that is not finite: the
//! caller must look.

use half::f16;

/// Weights that share a scale.
pub const GROUP: usize = 32;

/// Quantizes one group: its scale, and 16 bytes with the even weights in the low nibbles.
pub fn quantize_group(weights: &[f32; GROUP]) -> (f16, [u8; GROUP / 2]) {
    let scale = group_scale(weights);
    let mut packed = [0; GROUP / 2];
    let divisor = scale.to_f32();
    if divisor != 0.0 && divisor.is_finite() {
        for (byte, pair) in packed.iter_mut().zip(weights.as_chunks::<2>().0) {
            let [low, high] = pair.map(|weight| (weight / divisor).round_ties_even().clamp(-8.0, 7.0) as i8 as u8);
            *byte = low & 15 | high << 4;
        }
    }
    (scale, packed)
}

fn group_scale(weights: &[f32; GROUP]) -> f16 {
    // Compared as bits, where NaN > infinity > every number: `max` on floats would lose a NaN.
    let (mut low, mut high) = (0u32, 0u32);
    for weight in weights {
        let magnitude = weight.to_bits() & 0x7fff_ffff;
        if weight.is_sign_negative() {
            low = low.max(magnitude)
        } else {
            high = high.max(magnitude)
        }
    }
    match low >= high {
        true => f16::from_f32(f32::from_bits(low) * 0.125),
        false => f16::from_f32(f32::from_bits(high) * -0.125),
    }
}

/// The weight at an index of a group of packed nibbles, before scaling: -8..=7.
pub fn nibble(packed: &[u8], index: usize) -> i8 {
    let byte = packed[index / 2];
    if index.is_multiple_of(2) {
        (byte << 4) as i8 >> 4
    } else {
        byte as i8 >> 4
    }
}

/// Unpacks nibbles and multiplies them by their groups' scales: `packed` holds 2 weights a byte, `scales` one f16
/// (little-endian) for 32 weights, in the same order.
pub fn dequantize(packed: &[u8], scales: &[u8]) -> Vec<f32> {
    let (groups, _) = packed.as_chunks::<{ GROUP / 2 }>();
    let (scales, _) = scales.as_chunks::<2>();
    let group = |(group, scale): (&[u8; GROUP / 2], &[u8; 2])| {
        let scale = f16::from_le_bytes(*scale).to_f32();
        std::array::from_fn::<f32, GROUP, _>(|i| f32::from(nibble(group, i)) * scale)
    };
    groups.iter().zip(scales).flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Relative squared error of a rule that chooses the scale, over many groups of gaussian BF16 weights.
    fn relative_error(rule: impl Fn(&[f32; GROUP]) -> f32) -> f64 {
        let mut random = fastrand::Rng::with_seed(1);
        let mut gaussian = || {
            let (u, v) = (1.0 - random.f64(), random.f64());
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        let (mut error, mut power) = (0.0, 0.0);
        for _ in 0..20_000 {
            let weights: [f32; GROUP] = std::array::from_fn(|_| bf16::from_f64(gaussian() * 0.02).to_f32());
            let scale = f16::from_f32(rule(&weights)).to_f32();
            for weight in weights {
                let restored = (weight / scale).round_ties_even().clamp(-8.0, 7.0) * scale;
                error += f64::from(restored - weight).powi(2);
                power += f64::from(weight).powi(2);
            }
        }
        error / power
    }

    #[test]
    fn the_rule_beats_its_alternatives() {
        let max = |weights: &[f32; GROUP]| weights.iter().fold(0f32, |max, weight| max.max(weight.abs()));
        let ours = relative_error(|weights| group_scale(weights).to_f32());
        let by_7 = relative_error(|weights| max(weights) / 7.0);
        let by_7_5 = relative_error(|weights| max(weights) / 7.5);
        let no_clipping = relative_error(|weights| {
            weights
                .iter()
                .fold(0f32, |scale, &weight| scale.max(weight / 7.0).max(weight / -8.0))
        });
        println!("ours {ours:.5}  max/7 {by_7:.5}  max/7.5 {by_7_5:.5}  max(-min/8, max/7) {no_clipping:.5}");
        assert!(ours < by_7 && ours < by_7_5 && ours < no_clipping);
    }

    #[test]
    fn dequantizing_undoes_packing() {
        let weights: [f32; GROUP] = std::array::from_fn(|i| (i as f32 % 16.0 - 8.0) * 0.25);
        let (scale, packed) = quantize_group(&weights);
        assert_eq!(scale, f16::from_f32(0.25));
        assert_eq!(packed[..2], [0x98, 0xba]);
        assert_eq!(dequantize(&packed, &scale.to_le_bytes()), weights);
    }

    #[test]
    fn the_farther_end_gets_minus_eight() {
        let mut weights = [0.0; GROUP];
        (weights[3], weights[4]) = (1.0, -0.5);
        let (scale, packed) = quantize_group(&weights);
        assert_eq!(scale, f16::from_f32(-0.125));
        assert_eq!((nibble(&packed, 3), nibble(&packed, 4)), (-8, 4));
        weights[5] = -1.0;
        let (scale, packed) = quantize_group(&weights);
        assert_eq!(scale, f16::from_f32(0.125));
        assert_eq!((nibble(&packed, 3), nibble(&packed, 5)), (7, -8));
    }

    #[test]
    fn halves_round_to_even() {
        let mut weights = [0.0; GROUP];
        weights[..6].copy_from_slice(&[-8.0, 0.5, 1.5, 2.5, -0.5, -1.5]);
        let (_, packed) = quantize_group(&weights);
        assert_eq!([1, 2, 3, 4, 5].map(|i| nibble(&packed, i)), [0, 2, 2, 0, -2]);
    }

    #[test]
    fn zeros_subnormals_and_bad_values() {
        assert_eq!(quantize_group(&[0.0; GROUP]), (f16::ZERO, [0; 16]));
        assert_eq!(quantize_group(&[-0.0; GROUP]), (f16::ZERO, [0; 16]));
        // Too small for any f16 scale: zeros.
        assert_eq!(quantize_group(&[1e-8; GROUP]), (f16::NEG_ZERO, [0; 16]));
        // The smallest subnormal scale, rounded up from 0.6 of it: -8 would be too far, 0.6 * 8 = 4.8 is nearest to -5.
        let smallest = f16::from_bits(1).to_f32();
        let (scale, packed) = quantize_group(&[-0.6 * 8.0 * smallest; GROUP]);
        assert_eq!((scale.to_bits(), nibble(&packed, 0)), (1, -5));
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e6] {
            let mut weights = [1.0; GROUP];
            weights[7] = bad;
            assert!(!quantize_group(&weights).0.is_finite(), "{bad}");
        }
    }
}
