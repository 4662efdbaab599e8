//! `config.json` -> [`ModelConfig`], validated once.

use serde::Deserialize;

/// Every size of a model, as its `config.json` states it. Nothing in the engine hard-codes any of these.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    /// Width of one routed expert.
    pub expert_size: usize,
    /// Width of the shared expert, and of a dense layer's SwiGLU.
    pub shared_size: usize,
    pub layers: Vec<LayerConfig>,
    pub query_heads: usize,
    pub kv_heads: usize,
    /// Always 64 so far; checked.
    pub head_dim: usize,
    /// Longest context the model was made for, in tokens.
    pub max_positions: usize,
    pub rms_norm_eps: f32,
    pub rope_theta: f32,
    pub rope_scaling: Option<RopeScaling>,
    pub use_qk_norm: bool,
    pub experts: usize,
    pub experts_per_token: usize,
    pub routed_scaling_factor: f32,
    pub norm_topk_prob: bool,
    /// The LM head is the embedding matrix (no `lm_head` tensor in the file).
    pub tied_embeddings: bool,
    pub eos_token_ids: Vec<u32>,
    pub bos_token_id: Option<u32>,
    pub weights: WeightFormat,
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerConfig {
    /// RoPE and QK-norm on queries and keys (`no_rope_layers[i] == 1`).
    pub rope: bool,
    /// Routed experts beside the shared one; otherwise one dense SwiGLU of width `shared_size`.
    pub moe: bool,
}

/// The llama3 frequency scaling of RoPE (`rope_scaling.rope_type == "llama3"`).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct RopeScaling {
    pub factor: f32,
    pub original_max_position_embeddings: usize,
    pub low_freq_factor: f32,
    pub high_freq_factor: f32,
}

/// How the checkpoint stores its matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// `mobilemoe-int4-g32`: packed nibbles with one f16 scale for 32 weights.
    Int4G32,
    /// SFT and Base checkpoints.
    Bf16,
}

/// A `config.json` the engine cannot take.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("config.json is not valid JSON for a MobileMoE model: {0}")]
    Json(#[from] serde_json::Error),
    #[error("config.json: `{field}` is {found}; {expected}")]
    Field {
        field: &'static str,
        found: String,
        expected: String,
    },
}

impl ConfigError {
    pub fn code(&self) -> &'static str {
        match self {
            ConfigError::Json(_) => "ConfigJson",
            ConfigError::Field { .. } => "ConfigField",
        }
    }
}
