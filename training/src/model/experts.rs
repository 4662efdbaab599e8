//! The router, the routed experts and the shared one.

use std::ops::Range;

use half::bf16;
use mobilemoe_web::ModelConfig;

use super::{
    int8::quantize_rows,
    matrix::{Matrix, add_scaled, dot, linear, linear_backward, multiply, sigmoid},
};

/// Which experts each token takes, and the rows in the order of the experts.
#[derive(Default, Clone)]
pub struct Routing {
    /// sigmoid of the router's logits `[tokens, experts]`
    scores: Vec<f32>,
    /// `[tokens, chosen]`
    experts: Vec<u32>,
    /// What each chosen expert's output is multiplied by `[tokens, chosen]`
    weights: Vec<f32>,
    /// Sum of the chosen scores `[tokens]`
    sums: Vec<f32>,
    /// (token, choice) as `token * chosen + choice`, sorted by expert.
    order: Vec<u32>,
    /// The part of `order` that each expert has.
    pub parts: Vec<Range<usize>>,
}

impl Routing {
    /// `h` `[tokens, hidden]`. The bias, as BF16 stores it, takes part in the choice alone.
    pub fn forward(&mut self, config: &ModelConfig, h: &[f32], router: &[f32], bias: &[f32]) {
        let (experts, chosen) = (config.experts, config.experts_per_token);
        let tokens = h.len() / config.hidden_size;
        let bias: Vec<f32> = bias.iter().map(|&bias| bf16::from_f32(bias).to_f32()).collect();
        self.scores.resize(tokens * experts, 0.0);
        linear(&mut self.scores, h, router, config.hidden_size);
        self.scores.iter_mut().for_each(|score| *score = sigmoid(*score));
        self.experts.clear();
        self.weights.clear();
        self.sums.clear();
        let mut biased = vec![0.0; experts];
        for scores in self.scores.chunks_exact(experts) {
            for ((biased, score), bias) in biased.iter_mut().zip(scores).zip(&bias) {
                *biased = score + bias;
            }
            let first = self.experts.len();
            for _ in 0..chosen {
                let mut best = 0;
                for (expert, value) in biased.iter().enumerate() {
                    if *value > biased[best] {
                        best = expert;
                    }
                }
                biased[best] = f32::NEG_INFINITY;
                self.experts.push(best as u32);
            }
            let sum: f32 = self.experts[first..]
                .iter()
                .map(|&expert| scores[expert as usize])
                .sum();
            let factor = config.routed_scaling_factor / (sum + 1e-20);
            self.sums.push(sum);
            self.weights.extend(
                self.experts[first..]
                    .iter()
                    .map(|&expert| scores[expert as usize] * factor),
            );
        }

        // A counting sort.
        let mut ends = vec![0; experts];
        self.experts.iter().for_each(|&expert| ends[expert as usize] += 1);
        let mut end = 0;
        self.parts.clear();
        for count in &mut ends {
            self.parts.push(end..end + *count);
            end += *count;
            *count = end - *count;
        }
        self.order.resize(end, 0);
        for (slot, &expert) in self.experts.iter().enumerate() {
            self.order[ends[expert as usize]] = slot as u32;
            ends[expert as usize] += 1;
        }
    }

    /// Turns the gradient by the weights `[tokens, chosen]` into one by the router's logits `[tokens, experts]`.
    fn backward(&self, config: &ModelConfig, dweights: &[f32]) -> Vec<f32> {
        let (experts, chosen) = (config.experts, config.experts_per_token);
        let mut dlogits = vec![0.0; self.scores.len()];
        for (token, sum) in self.sums.iter().enumerate() {
            let slots = token * chosen..(token + 1) * chosen;
            let factor = config.routed_scaling_factor / (sum + 1e-20);
            // weight_j = scaling * s_j / sum(s)
            let along = dot(&dweights[slots.clone()], &self.weights[slots.clone()]) / config.routed_scaling_factor;
            for slot in slots {
                let at = token * experts + self.experts[slot] as usize;
                let score = self.scores[at];
                dlogits[at] = factor * (dweights[slot] - along) * score * (1.0 - score);
            }
        }
        dlogits
    }
}

/// What the backward pass needs of a layer's feed-forward.
#[derive(Default, Clone)]
pub struct Experts {
    pub routing: Routing,
    /// `[tokens * chosen, 2 expert]`, sorted by expert
    gate_up: Vec<f32>,
    /// `[tokens * chosen, expert]`
    activation: Vec<f32>,
    /// `[tokens, 2 shared]`
    shared_gate_up: Vec<f32>,
    /// `[tokens, shared]`
    shared_activation: Vec<f32>,
}

/// A layer's feed-forward weights, or the gradients by them.
pub struct Weights<T> {
    pub router: T,
    pub gate_up: T,
    pub down: T,
    pub shared_gate_up: T,
    pub shared_down: T,
}

impl Experts {
    /// `x += experts(h)`. `h` is what the router reads, `h_linear` what the experts read (rounded to INT8 or the same).
    pub fn forward(
        &mut self,
        config: &ModelConfig,
        weights: &Weights<&[f32]>,
        bias: &[f32],
        (h, h_linear): (&[f32], &[f32]),
        int8: bool,
        x: &mut [f32],
    ) {
        let (hidden, expert, shared) = (config.hidden_size, config.expert_size, config.shared_size);
        self.routing.forward(config, h, weights.router, bias);
        let routing = &self.routing;

        self.gate_up.resize(routing.order.len() * 2 * expert, 0.0);
        self.activation.resize(routing.order.len() * expert, 0.0);
        let (mut rows, mut out) = (Vec::new(), Vec::new());
        for (e, part) in routing.parts.iter().enumerate() {
            gather(&mut rows, h_linear, &routing.order[part.clone()], config);
            let gate_up = &mut self.gate_up[part.start * 2 * expert..part.end * 2 * expert];
            let w = &weights.gate_up[e * hidden * 2 * expert..][..hidden * 2 * expert];
            multiply(
                gate_up,
                2 * expert,
                false,
                Matrix::new(&rows, hidden),
                Matrix::new(w, 2 * expert),
            );
            let activation = &mut self.activation[part.start * expert..part.end * expert];
            swiglu(activation, gate_up, expert);
            if int8 {
                quantize_rows(activation, expert);
            }
            out.resize(part.len() * hidden, 0.0);
            let w = &weights.down[e * expert * hidden..][..expert * hidden];
            multiply(
                &mut out,
                hidden,
                false,
                Matrix::new(activation, expert),
                Matrix::new(w, hidden),
            );
            for (slot, out) in routing.order[part.clone()].iter().zip(out.chunks_exact(hidden)) {
                let token = *slot as usize / config.experts_per_token;
                add_scaled(&mut x[token * hidden..][..hidden], out, routing.weights[*slot as usize]);
            }
        }

        let tokens = h.len() / hidden;
        self.shared_gate_up.resize(tokens * 2 * shared, 0.0);
        self.shared_activation.resize(tokens * shared, 0.0);
        linear(&mut self.shared_gate_up, h_linear, weights.shared_gate_up, hidden);
        swiglu(&mut self.shared_activation, &self.shared_gate_up, shared);
        if int8 {
            quantize_rows(&mut self.shared_activation, shared);
        }
        let activation = Matrix::new(&self.shared_activation, shared);
        multiply(
            x,
            hidden,
            true,
            activation,
            Matrix::new(weights.shared_down, shared).transposed(),
        );
    }

    /// Gradient by h `[tokens, hidden]`; adds to the weights' gradients. `dout` `[tokens, hidden]`.
    pub fn backward(
        &self,
        config: &ModelConfig,
        weights: &Weights<&[f32]>,
        gradients: &mut Weights<&mut [f32]>,
        (h, h_linear): (&[f32], &[f32]),
        dout: &[f32],
    ) -> Vec<f32> {
        let (hidden, expert, shared) = (config.hidden_size, config.expert_size, config.shared_size);
        let routing = &self.routing;
        let mut dh = vec![0.0; h.len()];

        let mut dactivation = vec![0.0; self.shared_activation.len()];
        linear_backward(
            &mut dactivation,
            false,
            gradients.shared_down,
            dout,
            &self.shared_activation,
            weights.shared_down,
            shared,
        );
        let mut dgate_up = vec![0.0; self.shared_gate_up.len()];
        swiglu_backward(&mut dgate_up, &dactivation, &self.shared_gate_up, shared);
        let w = weights.shared_gate_up;
        linear_backward(&mut dh, false, gradients.shared_gate_up, &dgate_up, h_linear, w, hidden);

        let mut dweights = vec![0.0; routing.order.len()];
        let (mut rows, mut drows) = (Vec::new(), Vec::new());
        for (e, part) in routing.parts.iter().enumerate() {
            let order = &routing.order[part.clone()];
            let activation = &self.activation[part.start * expert..part.end * expert];
            let gate_up = &self.gate_up[part.start * 2 * expert..part.end * 2 * expert];
            // The weight multiplies the output: out = weight (activation down).
            gather(&mut drows, dout, order, config);
            let w = &weights.down[e * expert * hidden..][..expert * hidden];
            dactivation.resize(part.len() * expert, 0.0);
            let douts = Matrix::new(&drows, hidden);
            multiply(
                &mut dactivation,
                expert,
                false,
                douts,
                Matrix::new(w, hidden).transposed(),
            );
            let mut weighted = activation.to_vec();
            for (i, &slot) in order.iter().enumerate() {
                let weight = routing.weights[slot as usize];
                let row = i * expert..(i + 1) * expert;
                dweights[slot as usize] = dot(&activation[row.clone()], &dactivation[row.clone()]);
                dactivation[row.clone()]
                    .iter_mut()
                    .for_each(|gradient| *gradient *= weight);
                weighted[row].iter_mut().for_each(|activation| *activation *= weight);
            }
            let dw = &mut gradients.down[e * expert * hidden..][..expert * hidden];
            multiply(dw, hidden, true, Matrix::new(&weighted, expert).transposed(), douts);

            dgate_up.resize(part.len() * 2 * expert, 0.0);
            swiglu_backward(&mut dgate_up, &dactivation, gate_up, expert);
            gather(&mut rows, h_linear, order, config);
            let dgate_up = Matrix::new(&dgate_up, 2 * expert);
            let at = e * hidden * 2 * expert..(e + 1) * hidden * 2 * expert;
            let dw = &mut gradients.gate_up[at.clone()];
            multiply(dw, 2 * expert, true, Matrix::new(&rows, hidden).transposed(), dgate_up);
            let w = Matrix::new(&weights.gate_up[at], 2 * expert);
            multiply(&mut drows, hidden, false, dgate_up, w.transposed());
            for (&slot, drow) in order.iter().zip(drows.chunks_exact(hidden)) {
                let token = slot as usize / config.experts_per_token;
                add_scaled(&mut dh[token * hidden..][..hidden], drow, 1.0);
            }
        }
        let dlogits = routing.backward(config, &dweights);
        linear_backward(&mut dh, true, gradients.router, &dlogits, h, weights.router, hidden);
        dh
    }
}

/// The rows of x that some choices belong to.
fn gather(rows: &mut Vec<f32>, x: &[f32], order: &[u32], config: &ModelConfig) {
    rows.clear();
    for slot in order {
        let token = *slot as usize / config.experts_per_token;
        rows.extend_from_slice(&x[token * config.hidden_size..][..config.hidden_size]);
    }
}

/// `silu(gate) * up`; a row of `gate_up` has the gates, then the ups.
fn swiglu(activation: &mut [f32], gate_up: &[f32], width: usize) {
    for (activation, gate_up) in activation.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
        let (gate, up) = gate_up.split_at(width);
        for i in 0..width {
            activation[i] = gate[i] * sigmoid(gate[i]) * up[i];
        }
    }
}

fn swiglu_backward(dgate_up: &mut [f32], dactivation: &[f32], gate_up: &[f32], width: usize) {
    let rows = dgate_up
        .chunks_exact_mut(2 * width)
        .zip(gate_up.chunks_exact(2 * width));
    for ((dgate_up, gate_up), dactivation) in rows.zip(dactivation.chunks_exact(width)) {
        let (gate, up) = gate_up.split_at(width);
        let (dgate, dup) = dgate_up.split_at_mut(width);
        for i in 0..width {
            let open = sigmoid(gate[i]);
            dgate[i] = dactivation[i] * up[i] * open * (1.0 + gate[i] * (1.0 - open));
            dup[i] = dactivation[i] * gate[i] * open;
        }
    }
}

impl Routing {
    /// How many tokens each expert got.
    pub fn counts(&self) -> Vec<usize> {
        self.parts.iter().map(Range::len).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::shape::POCKET;

    /// Speed of one block of the pocket model, to hold against the libraries in `training/compare`:
    /// `cargo test --release -p training block_speed -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn block_speed() {
        const TOKENS: usize = 2048;
        const STEPS: usize = 20;
        let config = POCKET.config(false);
        let (hidden, expert, shared) = (config.hidden_size, config.expert_size, config.shared_size);
        let mut random = fastrand::Rng::with_seed(1);
        let mut draw = |len: usize, size: f32| -> Vec<f32> { (0..len).map(|_| size * (random.f32() - 0.5)).collect() };
        let sizes = [
            config.experts * hidden,
            config.experts * hidden * 2 * expert,
            config.experts * expert * hidden,
            2 * shared * hidden,
            hidden * shared,
        ];
        let weights = sizes.map(|len| draw(len, 0.2));
        let bias = vec![0.0; config.experts];
        // Half of the tokens on each of two threads, as in training.
        let h = [draw(TOKENS / 2 * hidden, 3.0), draw(TOKENS / 2 * hidden, 3.0)];
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for h in &h {
                scope.spawn(|| {
                    let [router, gate_up, down, shared_gate_up, shared_down] = weights.each_ref().map(Vec::as_slice);
                    let weights = Weights {
                        router,
                        gate_up,
                        down,
                        shared_gate_up,
                        shared_down,
                    };
                    let mut gradients = sizes.map(|len| vec![0.0; len]);
                    let mut kept = Experts::default();
                    for _ in 0..STEPS {
                        let mut x = vec![0.0; h.len()];
                        kept.forward(&config, &weights, &bias, (h, h), false, &mut x);
                        let [router, gate_up, down, shared_gate_up, shared_down] =
                            gradients.each_mut().map(Vec::as_mut_slice);
                        let mut gradients = Weights {
                            router,
                            gate_up,
                            down,
                            shared_gate_up,
                            shared_down,
                        };
                        kept.backward(&config, &weights, &mut gradients, (h, h), &x);
                    }
                });
            }
        });
        let seconds = begin.elapsed().as_secs_f64() / STEPS as f64;
        let products = config.experts_per_token * 3 * hidden * expert + 3 * hidden * shared + hidden * config.experts;
        println!(
            "by hand: {:.0} tokens/s, {:.1} GFLOPS",
            TOKENS as f64 / seconds,
            (6 * TOKENS * products) as f64 / seconds / 1e9
        );
    }
}
