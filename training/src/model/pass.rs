//! The whole model, forward and backward, over one batch.

use std::{array, ops::Range};

use super::{
    Layout,
    attention::Heads,
    experts::{Experts, Weights},
    int8::quantize_rows,
    matrix::{Matrix, exp, linear, linear_backward, multiply},
    norm::Normed,
    rope::{self, HEAD},
};

/// Rows of logits computed at a time: they stay in the cache.
const LOGIT_ROWS: usize = 128;

/// Documents one behind the other; each attends to itself and begins at position 0.
#[derive(Default, Clone)]
pub struct Batch {
    pub tokens: Vec<u32>,
    /// What comes after each token.
    pub targets: Vec<u32>,
    /// Whether that is to be learned.
    pub learned: Vec<bool>,
    pub documents: Vec<Range<usize>>,
}

impl Batch {
    pub fn push(&mut self, ids: &[u32], learned: &[bool]) {
        let begin = self.tokens.len();
        self.tokens.extend(&ids[..ids.len() - 1]);
        self.targets.extend(&ids[1..]);
        self.learned.extend(&learned[1..]);
        self.documents.push(begin..self.tokens.len());
    }

    pub fn learned_tokens(&self) -> usize {
        self.learned.iter().filter(|&&learned| learned).count()
    }
}

/// What a pass found out.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Sum of -ln p over the learned tokens.
    pub loss: f64,
    pub learned_tokens: usize,
    /// How many tokens each expert got `[layers][experts]`.
    pub expert_tokens: Vec<Vec<usize>>,
}

impl Outcome {
    pub fn add(&mut self, other: &Outcome) {
        self.loss += other.loss;
        self.learned_tokens += other.learned_tokens;
        self.expert_tokens.resize(other.expert_tokens.len(), Vec::new());
        for (sums, counts) in self.expert_tokens.iter_mut().zip(&other.expert_tokens) {
            sums.resize(counts.len(), 0);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
}

/// Activations of a pass, kept from step to step so that memory is allocated once.
pub struct Pass<'a> {
    layout: &'a Layout,
    heads: Heads,
    angles: Vec<[f32; 2]>,
    /// Round what linear layers read to INT8.
    pub int8: bool,
    layers: Vec<Activations>,
}

/// What the backward pass needs of a layer; `_linear` is what linear layers read.
#[derive(Default, Clone)]
struct Activations {
    input: Normed,
    h_linear: Vec<f32>,
    /// Rotated and normed queries and keys, values.
    projected: Vec<f32>,
    /// 1 / rms of each query and key head `[tokens, queries + kv]`
    inverse: Vec<f32>,
    probabilities: Vec<f32>,
    attended: Vec<f32>,
    post: Normed,
    h2: Vec<f32>,
    h2_linear: Vec<f32>,
    experts: Experts,
}

impl<'a> Pass<'a> {
    pub fn new(layout: &'a Layout) -> Pass<'a> {
        let config = &layout.config;
        Pass {
            layout,
            heads: Heads {
                queries: config.query_heads,
                kv: config.kv_heads,
            },
            angles: mobilemoe_web::kernels::rope::table(config, config.max_positions),
            int8: false,
            layers: vec![Activations::default(); layout.layers.len()],
        }
    }

    /// The loss of a batch.
    pub fn loss(&mut self, weights: &[f32], batch: &Batch) -> Outcome {
        let x = self.forward(weights, batch);
        self.head(weights, batch, &x, None).0
    }

    /// The loss of a batch; adds `scale` times its gradient to `gradients`.
    pub fn gradients(&mut self, weights: &[f32], batch: &Batch, scale: f32, gradients: &mut [f32]) -> Outcome {
        let x = self.forward(weights, batch);
        let (outcome, dx) = self.head(weights, batch, &x, Some((scale, gradients)));
        self.backward(weights, batch, dx, gradients);
        outcome
    }

    /// Residual stream after the last layer `[tokens, hidden]`.
    fn forward(&mut self, weights: &[f32], batch: &Batch) -> Vec<f32> {
        let (layout, heads, int8) = (self.layout, self.heads, self.int8);
        let config = &layout.config;
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        let embedding = &weights[layout.embedding.clone()];
        let mut x: Vec<f32> = Vec::with_capacity(batch.tokens.len() * hidden);
        for &token in &batch.tokens {
            x.extend_from_slice(&embedding[token as usize * hidden..][..hidden]);
        }
        for (layer, kept) in layout.layers.iter().zip(&mut self.layers) {
            kept.h_linear = kept.input.forward(&x, &weights[layer.input_norm.clone()], eps);
            if int8 {
                quantize_rows(&mut kept.h_linear, hidden);
            }
            kept.projected.resize(batch.tokens.len() * heads.width(), 0.0);
            linear(&mut kept.projected, &kept.h_linear, &weights[layer.qkv.clone()], hidden);
            kept.inverse.clear();
            for_each_rotated(
                &mut kept.projected,
                heads,
                &batch.documents,
                &self.angles,
                |_, head, angles| {
                    kept.inverse.push(rope::forward(head, angles, eps));
                },
            );
            kept.attended = heads.forward(&kept.projected, &batch.documents, &mut kept.probabilities);
            if int8 {
                quantize_rows(&mut kept.attended, heads.queries * HEAD);
            }
            let o = Matrix::new(&weights[layer.o.clone()], heads.queries * HEAD);
            let attended = Matrix::new(&kept.attended, heads.queries * HEAD);
            multiply(&mut x, hidden, true, attended, o.transposed());

            kept.h2 = kept.post.forward(&x, &weights[layer.post_norm.clone()], eps);
            kept.h2_linear.clone_from(&kept.h2);
            if int8 {
                quantize_rows(&mut kept.h2_linear, hidden);
            }
            let (h, bias) = ((&kept.h2[..], &kept.h2_linear[..]), &weights[layer.bias.clone()]);
            kept.experts
                .forward(config, &feed_forward(layer, weights), bias, h, int8, &mut x);
        }
        x
    }

    /// Loss, and the gradient by x `[tokens, hidden]` if gradients are wanted. Only learned tokens get logits.
    fn head(
        &self,
        weights: &[f32],
        batch: &Batch,
        x: &[f32],
        mut gradients: Option<(f32, &mut [f32])>,
    ) -> (Outcome, Vec<f32>) {
        let layout = self.layout;
        let (hidden, vocab) = (layout.config.hidden_size, layout.config.vocab_size);
        let embedding = &weights[layout.embedding.clone()];
        let norm = &weights[layout.norm.clone()];
        let learned: Vec<usize> = (0..batch.tokens.len()).filter(|&i| batch.learned[i]).collect();
        let mut outcome = Outcome {
            loss: 0.0,
            learned_tokens: learned.len(),
            expert_tokens: self.layers.iter().map(|kept| kept.experts.routing.counts()).collect(),
        };
        let mut dx = vec![0.0; if gradients.is_some() { x.len() } else { 0 }];
        let mut normed = Normed::default();
        for rows in learned.chunks(LOGIT_ROWS) {
            let gathered: Vec<f32> = rows
                .iter()
                .flat_map(|row| &x[row * hidden..][..hidden])
                .copied()
                .collect();
            let mut h = normed.forward(&gathered, norm, layout.config.rms_norm_eps);
            if self.int8 {
                quantize_rows(&mut h, hidden);
            }
            let mut logits = vec![0.0; rows.len() * vocab];
            linear(&mut logits, &h, embedding, hidden);
            for (logits, &row) in logits.chunks_exact_mut(vocab).zip(rows) {
                let target = batch.targets[row] as usize;
                let largest = logits.iter().fold(f32::MIN, |largest, &logit| largest.max(logit));
                let target_logit = logits[target] - largest;
                logits.iter_mut().for_each(|logit| *logit = exp(*logit - largest));
                let sum: f32 = logits.iter().sum();
                outcome.loss += f64::from(sum.ln() - target_logit);
                if let Some((scale, _)) = gradients {
                    // d loss / d logit = probability - (1 at the target)
                    logits.iter_mut().for_each(|logit| *logit *= scale / sum);
                    logits[target] -= scale;
                }
            }
            if let Some((_, gradients)) = &mut gradients {
                let mut dh = vec![0.0; h.len()];
                let dembedding = &mut gradients[layout.embedding.clone()];
                linear_backward(&mut dh, false, dembedding, &logits, &h, embedding, hidden);
                let mut drows = vec![0.0; h.len()];
                normed.backward(&mut drows, &mut gradients[layout.norm.clone()], &dh, norm);
                for (&row, drow) in rows.iter().zip(drows.chunks_exact(hidden)) {
                    dx[row * hidden..][..hidden].copy_from_slice(drow);
                }
            }
        }
        (outcome, dx)
    }

    fn backward(&mut self, weights: &[f32], batch: &Batch, mut dx: Vec<f32>, gradients: &mut [f32]) {
        let (layout, heads) = (self.layout, self.heads);
        let config = &layout.config;
        let hidden = config.hidden_size;
        for (layer, kept) in layout.layers.iter().zip(&self.layers).rev() {
            let h = (&kept.h2[..], &kept.h2_linear[..]);
            let dh = kept.experts.backward(
                config,
                &feed_forward(layer, weights),
                &mut feed_forward_mut(layer, gradients),
                h,
                &dx,
            );
            let norm = layer.post_norm.clone();
            kept.post
                .backward(&mut dx, &mut gradients[norm.clone()], &dh, &weights[norm]);

            let mut dattended = vec![0.0; kept.attended.len()];
            let o = layer.o.clone();
            let width = heads.queries * HEAD;
            let w = &weights[o.clone()];
            linear_backward(&mut dattended, false, &mut gradients[o], &dx, &kept.attended, w, width);
            let mut dprojected = heads.backward(&dattended, &kept.projected, &batch.documents, &kept.probabilities);
            let mut inverse = kept.inverse.iter();
            for_each_rotated(
                &mut dprojected,
                heads,
                &batch.documents,
                &self.angles,
                |at, gradient, angles| {
                    let inverse = *inverse.next().unwrap_or(&0.0);
                    rope::backward(gradient, &kept.projected[at..][..HEAD], inverse, angles);
                },
            );
            let mut dh = vec![0.0; dx.len()];
            let qkv = layer.qkv.clone();
            let w = &weights[qkv.clone()];
            linear_backward(
                &mut dh,
                false,
                &mut gradients[qkv],
                &dprojected,
                &kept.h_linear,
                w,
                hidden,
            );
            let norm = layer.input_norm.clone();
            kept.input
                .backward(&mut dx, &mut gradients[norm.clone()], &dh, &weights[norm]);
        }
        let dembedding = &mut gradients[layout.embedding.clone()];
        for (&token, dx) in batch.tokens.iter().zip(dx.chunks_exact(hidden)) {
            super::matrix::add_scaled(&mut dembedding[token as usize * hidden..][..hidden], dx, 1.0);
        }
    }
}

/// Calls `each` for every query and key head of every token, with where it lies, and its position's angles.
fn for_each_rotated(
    projected: &mut [f32],
    heads: Heads,
    documents: &[Range<usize>],
    angles: &[[f32; 2]],
    mut each: impl FnMut(usize, &mut [f32], &[[f32; 2]]),
) {
    let rotated = (heads.queries + heads.kv) * HEAD;
    for document in documents {
        for (position, token) in document.clone().enumerate() {
            let angles = &angles[position * HEAD / 2..][..HEAD / 2];
            for column in (0..rotated).step_by(HEAD) {
                let at = token * heads.width() + column;
                each(at, &mut projected[at..at + HEAD], angles);
            }
        }
    }
}

fn feed_forward<'w>(layer: &super::Layer, weights: &'w [f32]) -> Weights<&'w [f32]> {
    let [router, gate_up, down, shared_gate_up, shared_down] = feed_forward_ranges(layer).map(|range| &weights[range]);
    Weights {
        router,
        gate_up,
        down,
        shared_gate_up,
        shared_down,
    }
}

fn feed_forward_mut<'w>(layer: &super::Layer, mut gradients: &'w mut [f32]) -> Weights<&'w mut [f32]> {
    let mut end = 0;
    let ranges = feed_forward_ranges(layer);
    // They lie in this order, so each can be split off the front.
    let [router, gate_up, down, shared_gate_up, shared_down] = array::from_fn(|i| {
        let range = ranges[i].clone();
        let (part, rest) = std::mem::take(&mut gradients)[range.start - end..].split_at_mut(range.len());
        (gradients, end) = (rest, range.end);
        part
    });
    Weights {
        router,
        gate_up,
        down,
        shared_gate_up,
        shared_down,
    }
}

fn feed_forward_ranges(layer: &super::Layer) -> [Range<usize>; 5] {
    [
        layer.router.clone(),
        layer.gate_up.clone(),
        layer.down.clone(),
        layer.shared_gate_up.clone(),
        layer.shared_down.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::matrix::dot, shape};

    fn batch(vocab: u32) -> Batch {
        let mut random = fastrand::Rng::with_seed(5);
        let mut batch = Batch::default();
        for length in [3, 150, 17] {
            let ids: Vec<u32> = (0..length).map(|_| random.u32(..vocab)).collect();
            let learned: Vec<bool> = (0..length).map(|i| i % 3 != 1).collect();
            batch.push(&ids, &learned);
        }
        batch
    }

    /// Every kind of weight: the loss changes along a random direction as its gradient says.
    #[test]
    fn gradients_are_the_losss_slopes() {
        let layout = Layout::new(shape::TEST.config(false));
        let mut random = fastrand::Rng::with_seed(1);
        let mut weights = layout.initial(3);
        // Nothing at zero or one: every path counts.
        weights
            .iter_mut()
            .for_each(|weight| *weight += 0.1 * super::super::gaussian(&mut random));
        // Four experts far ahead: a small step must not change a choice, where the loss jumps.
        for layer in &layout.layers {
            weights[layer.bias.clone()].copy_from_slice(&[9.0, 0.0, 9.0, 9.0, 0.0, 0.0, 9.0]);
        }
        let batch = batch(layout.config.vocab_size as u32);
        let mut pass = Pass::new(&layout);
        let mut gradients = vec![0.0; layout.len];
        let scale = 1.0 / batch.learned_tokens() as f32;
        let outcome = pass.gradients(&weights, &batch, scale, &mut gradients);
        assert_eq!(outcome.learned_tokens, batch.learned_tokens());

        for (parameter, range) in &layout.parameters {
            if parameter.name.ends_with("expert_bias") {
                assert!(gradients[range.clone()].iter().all(|&gradient| gradient == 0.0));
                continue;
            }
            let direction: Vec<f32> = range.clone().map(|_| super::super::gaussian(&mut random)).collect();
            let expected = f64::from(dot(&gradients[range.clone()], &direction));
            let mut loss_at = |step: f32| {
                let mut moved = weights.clone();
                super::super::matrix::add_scaled(&mut moved[range.clone()], &direction, step);
                pass.loss(&moved, &batch).loss * f64::from(scale)
            };
            let step = 2e-4;
            let slope = (loss_at(step) - loss_at(-step)) / f64::from(2.0 * step);
            let size = f64::from(dot(&gradients[range.clone()], &gradients[range.clone()])).sqrt();
            let error = (slope - expected).abs();
            println!("{:60} {slope:10.6} {expected:10.6} of {size:.6}", parameter.name);
            assert!(error < 0.02 * size + 2e-3, "{}: {slope} {expected}", parameter.name);
        }
    }
}
