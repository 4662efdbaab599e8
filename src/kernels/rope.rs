//! The rotation angles: computed once on the CPU, because WGSL promises nothing about sin and cos of large numbers.

use crate::config::{ModelConfig, RopeScaling};

/// Frequencies of the 32 pairs of a head: theta^(-2j / head_dim), scaled as llama3 does (`transformers`'
/// `_compute_llama3_parameters`), all in f32 as the official code computes them.
pub fn frequencies(config: &ModelConfig) -> Vec<f32> {
    let dim = config.head_dim;
    let frequency = |j: usize| 1.0 / config.rope_theta.powf((2 * j) as f32 / dim as f32);
    (0..dim / 2)
        .map(|j| match config.rope_scaling {
            None => frequency(j),
            Some(scaling) => scaled(frequency(j), scaling),
        })
        .collect()
}

/// Wavelengths beyond the context the model was first trained on are stretched, short ones kept, those between blended.
fn scaled(frequency: f32, scaling: RopeScaling) -> f32 {
    let RopeScaling {
        factor,
        original_max_position_embeddings,
        low_freq_factor,
        high_freq_factor,
    } = scaling;
    let context = original_max_position_embeddings as f32;
    let wavelength = 2.0 * std::f32::consts::PI / frequency;
    if wavelength > context / low_freq_factor {
        frequency / factor
    } else if wavelength < context / high_freq_factor || low_freq_factor == high_freq_factor {
        frequency
    } else {
        let smooth = (context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// cos and sin of position * frequency (that product in f32): `[positions, 32, 2]`.
pub fn table(config: &ModelConfig, positions: usize) -> Vec<[f32; 2]> {
    let frequencies = frequencies(config);
    let mut table = Vec::with_capacity(positions * frequencies.len());
    for position in 0..positions {
        for frequency in &frequencies {
            let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
            table.push([cos as f32, sin as f32]);
        }
    }
    table
}
