//! The sizes of the models this program makes, and their `config.json`.

use mobilemoe_web::{ModelConfig, config::int4_block};
use serde_json::json;

use crate::vocabulary::{BEGIN_OF_TEXT, END_OF_TEXT, EOT, SPECIALS};

/// What differs between models; everything else is as in the published ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    pub vocab: usize,
    pub hidden: usize,
    pub layers: usize,
    pub query_heads: usize,
    pub kv_heads: usize,
    pub experts: usize,
    /// Width of a routed expert.
    pub expert: usize,
    /// Width of the shared expert.
    pub shared: usize,
}

/// models/pocket.
pub const POCKET: Shape = Shape {
    vocab: 2048,
    hidden: 192,
    layers: 5,
    query_heads: 4,
    kv_heads: 2,
    experts: 60,
    expert: 32,
    shared: 192,
};

/// Shows that the pipeline works; learns little.
pub const QUICK: Shape = Shape {
    vocab: 1024,
    hidden: 64,
    layers: 2,
    query_heads: 2,
    kv_heads: 1,
    experts: 60,
    expert: 32,
    shared: 64,
};

/// For tests: gradients and exports of every part, in milliseconds.
#[cfg(test)]
pub const TEST: Shape = Shape {
    vocab: 96,
    hidden: 64,
    layers: 2,
    query_heads: 4,
    kv_heads: 2,
    experts: 7,
    expert: 32,
    shared: 32,
};

/// Longest context, in tokens.
pub const CONTEXT: usize = 2048;

impl Shape {
    /// The text of `config.json`; `int4` in the published QAT layout, otherwise BF16.
    pub fn config_json(&self, int4: bool) -> String {
        let special = |token: usize| self.vocab - SPECIALS.len() + token;
        let mut config = json!({
            "architectures": ["MobileMoEForCausalLM"],
            "model_type": "mobilemoe",
            "vocab_size": self.vocab,
            "hidden_size": self.hidden,
            "intermediate_size": self.expert,
            "intermediate_size_mlp": self.shared,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.query_heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": 64,
            "hidden_act": "silu",
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 16.0,
                "original_max_position_embeddings": 8192,
                "low_freq_factor": 1.0,
                "high_freq_factor": 1.0,
            },
            "num_local_experts": self.experts,
            "num_experts_per_tok": 4,
            "interleave_moe_layer_step": 1,
            "no_rope_layers": vec![1; self.layers],
            "layer_types": vec!["full_attention"; self.layers],
            "use_qk_norm": true,
            "attn_temperature_tuning": false,
            "tie_word_embeddings": true,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": true,
            "torch_dtype": "bfloat16",
            "use_cache": true,
            "bos_token_id": special(BEGIN_OF_TEXT),
            "eos_token_id": [special(END_OF_TEXT), special(EOT)],
        });
        if int4 {
            config["quantization"] = int4_block();
        }
        format!("{config:#}\n")
    }

    pub fn config(&self, int4: bool) -> ModelConfig {
        ModelConfig::from_json(self.config_json(int4).as_bytes()).expect("a config of this program's own")
    }
}
