//! What one decoded token reads from GPU memory, by kernel: each tensor that the step touches, once.

use crate::{
    ModelConfig,
    checkpoint::{Parameter, parameters},
    kernels::KvFormat,
};

/// Bytes that a kernel reads for one decoded token, in all layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelReads {
    pub kernel: &'static str,
    /// Weights as they are stored: INT4 codes with their scales, norms, router.
    pub weight_bytes: u64,
    /// Keys and values.
    pub kv_bytes: u64,
}

const EMBEDDING: &str = "model.embed_tokens.weight";

/// Reads of a token that attends to `context` tokens.
pub fn token_reads(config: &ModelConfig, kv: KvFormat, context: usize) -> Vec<KernelReads> {
    let mut reads: Vec<KernelReads> = Vec::new();
    let mut add = |kernel, weight_bytes, kv_bytes| match reads.iter_mut().find(|reads| reads.kernel == kernel) {
        Some(reads) => {
            reads.weight_bytes += weight_bytes;
            reads.kv_bytes += kv_bytes;
        }
        None => reads.push(KernelReads {
            kernel,
            weight_bytes,
            kv_bytes,
        }),
    };
    for parameter in parameters(config) {
        let bytes = active_bytes(&parameter, config);
        if parameter.name == EMBEDDING {
            add("embed", bytes / config.vocab_size as u64, 0);
        }
        if parameter.name != EMBEDDING || config.tied_embeddings {
            add(kernel_of(&parameter.name), bytes, 0);
        }
    }
    let kv_row = 2 * config.kv_heads * kv.row_bytes();
    for layer in &config.layers {
        let seen = context.min(layer.window.unwrap_or(context));
        add("attention", 0, (seen * kv_row) as u64);
    }
    reads
}

/// The least that a token can read: the INT4 codes and scales of its active weights.
pub fn min_weight_bytes_per_token(config: &ModelConfig) -> u64 {
    (parameters(config).iter())
        .filter(|parameter| parameter.int4_names().is_some())
        .map(
            |parameter| match parameter.name == EMBEDDING && !config.tied_embeddings {
                true => active_bytes(parameter, config) / config.vocab_size as u64,
                false => active_bytes(parameter, config),
            },
        )
        .sum()
}

/// Bytes at run time, of the routed experts only those of one token.
fn active_bytes(parameter: &Parameter, config: &ModelConfig) -> u64 {
    let bytes: u64 = parameter
        .runtime_tensors()
        .iter()
        .map(|tensor| tensor.len_bytes())
        .sum();
    bytes * parameter.active_elements(config) / parameter.elements()
}

/// Which kernel multiplies with a parameter.
fn kernel_of(name: &str) -> &'static str {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    match () {
        _ if ends(&[
            "q_proj.weight",
            "k_proj.weight",
            "v_proj.weight",
            "input_layernorm.weight",
        ]) =>
        {
            "qkv"
        }
        _ if ends(&["o_proj.weight"]) => "o_proj",
        _ if ends(&["post_attention_layernorm.weight", "router.weight", "expert_bias"]) => "route",
        _ if ends(&["gate_up_proj", "gate_proj.weight", "up_proj.weight"]) => "experts_up",
        _ if ends(&["down_proj", "down_proj.weight"]) => "experts_down",
        _ => "lm_head", // the head itself, the tied embedding, the last norm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::synth::{Synth, shape};

    fn reads(name: &str, context: usize) -> (ModelConfig, Vec<KernelReads>) {
        let config = Synth::new(shape(name).unwrap()).config().unwrap();
        let reads = token_reads(&config, KvFormat::F16, context);
        (config, reads)
    }

    /// S by hand: 20 layers of attention, shared expert and four routed ones, and the head, at 9/16 byte a weight.
    #[test]
    fn s_reads_what_is_active() {
        let (config, reads) = reads("S", 100);
        let layer = 768 * (768 + 256 + 256 + 768) + 3 * 768 * 1536 + 4 * 3 * 768 * 384;
        let weights = 20 * layer + 128_256 * 768;
        assert_eq!(min_weight_bytes_per_token(&config), weights * 9 / 16);
        let router = 60 * 768 * 4 + 60 * 2;
        let norms = 20 * 2 * 768 * 2 + 768 * 2;
        let embedding_row = 768 * 9 / 16;
        let all: u64 = reads.iter().map(|reads| reads.weight_bytes).sum();
        assert_eq!(all, weights * 9 / 16 + 20 * router + norms + embedding_row);
        let attention = reads.iter().find(|reads| reads.kernel == "attention").unwrap();
        assert_eq!(attention.kv_bytes, 20 * 100 * 2 * 256 * 2);
    }

    #[test]
    fn a_sliding_layer_reads_its_window() {
        let (_, reads) = reads("pro", 8192);
        let attention = reads.iter().find(|reads| reads.kernel == "attention").unwrap();
        assert_eq!(attention.kv_bytes, (23 * 512 + 7 * 8192) * 2 * 256 * 2);
    }
}
