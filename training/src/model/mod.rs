//! MobileMoE with gradients, by hand: the forward pass as the engine has it, and its derivative beside it.
//!
//! Weights lie in one vector, in the order and the shapes of a BF16 checkpoint
//! ([`mobilemoe_web::checkpoint::parameters`]), so that an exported model is the vector cut at the parameters' borders.

mod attention;
mod experts;
pub mod int8;
mod matrix;
mod norm;
mod pass;
mod rope;

use std::ops::Range;

use mobilemoe_web::{
    ModelConfig,
    checkpoint::{Parameter, ParameterKind, parameters},
};

pub use matrix::dot;
pub use pass::{Batch, Outcome, Pass};

/// Where each weight lies in the vector.
pub struct Layout {
    pub config: ModelConfig,
    pub parameters: Vec<(Parameter, Range<usize>)>,
    pub embedding: Range<usize>,
    pub layers: Vec<Layer>,
    pub norm: Range<usize>,
    pub len: usize,
}

/// The weights of a layer. Neighbours of one kind are taken as one matrix.
pub struct Layer {
    pub input_norm: Range<usize>,
    /// `[(query + 2 kv) heads * 64, hidden]`
    pub qkv: Range<usize>,
    /// `[hidden, query heads * 64]`
    pub o: Range<usize>,
    pub post_norm: Range<usize>,
    /// `[experts, hidden]`
    pub router: Range<usize>,
    /// `[experts]`, moved by [`balance`](crate::train), not by gradients.
    pub bias: Range<usize>,
    /// `[experts, hidden, 2 expert]`
    pub gate_up: Range<usize>,
    /// `[experts, expert, hidden]`
    pub down: Range<usize>,
    /// `[2 shared, hidden]`
    pub shared_gate_up: Range<usize>,
    /// `[hidden, shared]`
    pub shared_down: Range<usize>,
}

impl Layout {
    /// Panics if the config is not of the kind this program makes: all layers with RoPE and experts, tied embedding.
    pub fn new(config: ModelConfig) -> Layout {
        assert!(config.tied_embeddings && config.use_qk_norm && config.norm_topk_prob);
        assert!(config.layers.iter().all(|layer| layer.rope && layer.moe));
        let mut len = 0;
        let parameters: Vec<(Parameter, Range<usize>)> = parameters(&config)
            .into_iter()
            .map(|parameter| {
                let begin = len;
                len += parameter.elements() as usize;
                (parameter, begin..len)
            })
            .collect();
        let at = |name: &str| {
            let found = parameters.iter().find(|(parameter, _)| parameter.name == name);
            found
                .map(|(_, range)| range.clone())
                .expect("a parameter of this model")
        };
        let layer = |i: usize| {
            let at = |name: &str| at(&format!("model.layers.{i}.{name}"));
            let joined = |first: &str, last: &str| at(first).start..at(last).end;
            Layer {
                input_norm: at("input_layernorm.weight"),
                qkv: joined("self_attn.q_proj.weight", "self_attn.v_proj.weight"),
                o: at("self_attn.o_proj.weight"),
                post_norm: at("post_attention_layernorm.weight"),
                router: at("feed_forward.router.weight"),
                bias: at("feed_forward.expert_bias"),
                gate_up: at("feed_forward.experts.gate_up_proj"),
                down: at("feed_forward.experts.down_proj"),
                shared_gate_up: joined(
                    "feed_forward.shared_expert.gate_proj.weight",
                    "feed_forward.shared_expert.up_proj.weight",
                ),
                shared_down: at("feed_forward.shared_expert.down_proj.weight"),
            }
        };
        Layout {
            embedding: at("model.embed_tokens.weight"),
            layers: (0..config.layers.len()).map(layer).collect(),
            norm: at("model.norm.weight"),
            parameters,
            config,
            len,
        }
    }

    /// First weights: inputs of every matrix are normed, so a standard deviation of 1 / sqrt(inputs) keeps outputs at
    /// size 1. What is added to the residual stream starts at zero.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut weights = vec![0.0; self.len];
        for (parameter, range) in &self.parameters {
            let weights = &mut weights[range.clone()];
            let name = &parameter.name;
            let inputs = match parameter.kind {
                ParameterKind::Vector if name.ends_with("norm.weight") => {
                    weights.fill(1.0);
                    continue;
                }
                ParameterKind::Vector => continue,
                _ if name.contains("o_proj") || name.contains("down_proj") => continue,
                // Both [experts, in, out] and [out, in].
                _ => parameter.shape[1] as f32,
            };
            let std = if name.ends_with("embed_tokens.weight") {
                EMBEDDING_STD
            } else {
                inputs.sqrt().recip()
            };
            weights
                .iter_mut()
                .for_each(|weight| *weight = std * gaussian(&mut random));
        }
        weights
    }
}

const EMBEDDING_STD: f32 = 0.06;

/// A draw from the standard normal distribution (Box-Muller).
fn gaussian(random: &mut fastrand::Rng) -> f32 {
    let (u, v) = (1.0 - random.f32(), random.f32());
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}
