//! AdamW, and the weights as INT4 will have them.

use half::bf16;
use mobilemoe_web::checkpoint::{
    ParameterKind,
    int4::{GROUP, nibble, quantize_group},
};

use crate::model::Layout;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.98;
const EPS: f32 = 1e-9;
const WEIGHT_DECAY: f32 = 0.05;
/// Gradients longer than this are cut to it.
const MAX_NORM: f32 = 1.0;

/// First and second moments of the gradients, beside the weights.
pub struct AdamW {
    pub mean: Vec<f32>,
    pub square: Vec<f32>,
    /// Steps taken.
    pub steps: u64,
}

impl AdamW {
    pub fn new(len: usize) -> AdamW {
        AdamW {
            mean: vec![0.0; len],
            square: vec![0.0; len],
            steps: 0,
        }
    }

    /// One step down `gradients`, on `threads` threads. Returns the gradients' norm. Norms' weights do not decay; the
    /// experts' bias, which has no gradient, stays.
    pub fn step(&mut self, layout: &Layout, weights: &mut [f32], gradients: &[f32], rate: f32, threads: usize) -> f32 {
        self.steps += 1;
        let norm = gradients
            .chunks(1 << 16)
            .map(|part| f64::from(crate::model::dot(part, part)))
            .sum::<f64>()
            .sqrt() as f32;
        let clip = (MAX_NORM / (norm + 1e-6)).min(1.0);
        let steps = self.steps.min(1 << 20) as i32;
        let rate_mean = rate / (1.0 - BETA1.powi(steps));
        let inverse_square = 1.0 / (1.0 - BETA2.powi(steps));
        let decay_of = |i: usize| {
            let (parameter, _) = &layout.parameters[i];
            if parameter.kind == ParameterKind::Vector {
                0.0
            } else {
                rate * WEIGHT_DECAY
            }
        };
        // Parameters in order; each thread takes every n-th piece.
        let mut pieces: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
        let (mut weights, mut means, mut squares) = (weights, &mut self.mean[..], &mut self.square[..]);
        let mut count = 0;
        for (i, (_, range)) in layout.parameters.iter().enumerate() {
            let mut at = range.start;
            while at < range.end {
                let len = (range.end - at).min(1 << 16);
                let (weight, mean, square);
                (weight, weights) = weights.split_at_mut(len);
                (mean, means) = means.split_at_mut(len);
                (square, squares) = squares.split_at_mut(len);
                pieces[count % threads].push((decay_of(i), weight, mean, square, &gradients[at..at + len]));
                (at, count) = (at + len, count + 1);
            }
        }
        std::thread::scope(|scope| {
            for pieces in pieces {
                scope.spawn(|| {
                    for (decay, weights, means, squares, gradients) in pieces {
                        for i in 0..weights.len() {
                            let gradient = gradients[i] * clip;
                            means[i] += (1.0 - BETA1) * (gradient - means[i]);
                            squares[i] += (1.0 - BETA2) * (gradient * gradient - squares[i]);
                            let size = (squares[i] * inverse_square).sqrt() + EPS;
                            weights[i] -= rate_mean * means[i] / size + decay * weights[i];
                        }
                    }
                });
            }
        });
        norm
    }
}

/// Weights as an INT4 checkpoint stores them: matrices rounded to BF16, then to INT4 g32 by the engine's own rule, norms
/// and bias to BF16; the router stays. Groups run along the last dimension everywhere, so 32 neighbours are a group.
pub fn quantized(layout: &Layout, weights: &[f32], threads: usize) -> Vec<f32> {
    let mut out = weights.to_vec();
    let mut parts: Vec<Vec<&mut [f32]>> = (0..threads).map(|_| Vec::new()).collect();
    let mut rest = &mut out[..];
    let mut count = 0;
    for (parameter, range) in &layout.parameters {
        let values;
        (values, rest) = rest.split_at_mut(range.len());
        match parameter.kind {
            ParameterKind::Router => {}
            ParameterKind::Vector => values
                .iter_mut()
                .for_each(|value| *value = bf16::from_f32(*value).to_f32()),
            ParameterKind::Linear | ParameterKind::Experts => {
                for part in values.chunks_mut(GROUP << 10) {
                    parts[count % threads].push(part);
                    count += 1;
                }
            }
        }
    }
    std::thread::scope(|scope| {
        for parts in parts {
            scope.spawn(|| {
                parts
                    .into_iter()
                    .flat_map(|part| part.as_chunks_mut().0)
                    .for_each(round_to_int4)
            });
        }
    });
    out
}

fn round_to_int4(group: &mut [f32; GROUP]) {
    let rounded = group.map(|weight| bf16::from_f32(weight).to_f32());
    let (scale, packed) = quantize_group(&rounded);
    let scale = scale.to_f32();
    *group = std::array::from_fn(|i| f32::from(nibble(&packed, i)) * scale);
}
