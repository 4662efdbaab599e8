//! What a model will take on the GPU, known before the first weight is fetched.

use crate::{
    ModelConfig,
    checkpoint::runtime_tensors,
    config::LayerConfig,
    gpu::Requirements,
    kernels::{KvFormat, LARGEST_TILE, LayerLayout, attention, experts_up::activation_width, group},
};

/// The sizes of everything a model keeps on the GPU.
#[derive(Debug, Clone)]
pub struct Plan {
    pub context_length: usize,
    /// Most tokens in one pass.
    pub chunk_tokens: usize,
    /// Most rows of logits at once.
    pub logits_rows: usize,
    pub kv: KvFormat,
    /// The kinds of layers this model has, and where each kind's tensors lie in its buffer.
    pub kinds: Vec<(LayerConfig, LayerLayout)>,
    /// All weights, in bytes.
    pub weight_bytes: u64,
    /// Activations between the kernels, logits, angles.
    pub scratch_bytes: u64,
    /// One token's keys and values in all layers.
    pub kv_bytes_per_token: u64,
    /// What the device must allow.
    pub requirements: Requirements,
}

/// More tokens in one pass would make grids of more than 65,535 workgroups, WebGPU's limit, with many experts a token.
const MAX_CHUNK_TOKENS: usize = 1024;

/// Logits kept at once, when more than one row is asked for.
const LOGITS_BYTES: usize = 16 << 20;

impl Plan {
    /// `context_length` and `chunk_tokens` are clamped to what makes sense for the model.
    pub fn new(config: &ModelConfig, context_length: usize, chunk_tokens: usize, kv: KvFormat) -> Plan {
        let context_length = context_length.clamp(1, config.max_positions);
        let chunk_tokens = chunk_tokens.clamp(1, context_length.min(MAX_CHUNK_TOKENS));
        let logits_rows = (LOGITS_BYTES / (4 * config.vocab_size)).clamp(1, chunk_tokens);

        let tensors = runtime_tensors(config);
        let mut kinds: Vec<(LayerConfig, LayerLayout)> = Vec::new();
        for (i, layer) in config.layers.iter().enumerate() {
            if kinds.iter().all(|(kind, _)| kind != layer) {
                let prefix = format!("model.layers.{i}.");
                let of_layer = (tensors.iter())
                    .filter_map(|tensor| Some((tensor.name.strip_prefix(&prefix)?, tensor.len_bytes())));
                kinds.push((*layer, LayerLayout::new(of_layer)));
            }
        }

        let kv_row = (2 * config.kv_heads * kv.row_bytes()) as u64;
        let layer_bytes = kinds.iter().map(|(_, layout)| layout.bytes()).max().unwrap_or(0);
        let outside = tensors
            .iter()
            .filter(|tensor| !tensor.name.starts_with("model.layers."))
            .map(|t| t.len_bytes());
        let buffers = [
            layer_bytes,
            outside.max().unwrap_or(0),
            kv_row * context_length as u64,
            bytes_of(Plan::rows(chunk_tokens), 4 * widest_row(config)),
            bytes_of(attention::rows(Plan::rows(chunk_tokens)), 4 * config.query_size()),
            bytes_of(context_length, 4 * config.head_dim),
            bytes_of(logits_rows, 4 * config.vocab_size),
        ];
        let largest = buffers.into_iter().max().unwrap_or(0);
        Plan {
            context_length,
            chunk_tokens,
            logits_rows,
            kv,
            weight_bytes: tensors.iter().map(|tensor| tensor.len_bytes()).sum(),
            scratch_bytes: bytes_of(Plan::rows(chunk_tokens), 4 * row_values(config))
                + bytes_of(logits_rows, 4 * config.vocab_size)
                + bytes_of(context_length, 4 * config.head_dim)
                + bytes_of(
                    config.layers.len() * Plan::rows(chunk_tokens),
                    16 * config.experts_per_token,
                )
                + bytes_of(group::order_len(config, Plan::rows(chunk_tokens)), 4),
            kv_bytes_per_token: kv_row * config.layers.len() as u64,
            requirements: Requirements {
                buffer_bytes: largest,
                binding_bytes: largest,
                low_power: false,
            },
            kinds,
        }
    }

    /// Where a layer of this kind keeps its tensors.
    pub fn layout(&self, layer: LayerConfig) -> &LayerLayout {
        let kind = self.kinds.iter().find(|(kind, _)| *kind == layer);
        &kind.expect("the plan was made from this model's layers").1
    }

    /// Rows of the activation buffers: kernels look at whole tiles, past the last token and past the last head row.
    pub fn rows(chunk_tokens: usize) -> usize {
        chunk_tokens + LARGEST_TILE
    }
}

/// The product in 64 bits: a browser's `usize` has 32.
fn bytes_of(rows: usize, row_bytes: usize) -> u64 {
    rows as u64 * row_bytes as u64
}

/// The widest activation between two kernels, in values a token.
fn widest_row(config: &ModelConfig) -> usize {
    let activation = config
        .layers
        .iter()
        .map(|layer| activation_width(config, *layer))
        .max()
        .unwrap_or(0);
    activation
        .max(config.hidden_size * config.experts_per_token.max(1))
        .max(config.query_size())
}

/// All activations of one token: x, h, query, attended, the experts', and their outputs.
fn row_values(config: &ModelConfig) -> usize {
    let activation = config
        .layers
        .iter()
        .map(|layer| activation_width(config, *layer))
        .max()
        .unwrap_or(0);
    (2 + config.experts_per_token) * config.hidden_size + 2 * config.query_size() + activation
}
