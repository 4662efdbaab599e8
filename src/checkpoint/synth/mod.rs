//! Synthetic checkpoints: random weights in exactly the published format, for tests, benchmarks and demos.
//!
//! They cost no download and no licence, and everything about them but the text they write is like the real thing:
//! names, shapes, bytes, activations of ordinary size, routing that uses many experts.

mod repository;
mod shapes;
mod tokenizer;
mod weights;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    CONFIG_FILE, INDEX_FILE, MemoryRepository, Parameter, TensorSpec, WEIGHTS_FILE, parameters,
    safetensors::{Layout, layout},
};
use crate::{
    ModelConfig, Result,
    config::{WeightFormat, int4_block},
};
pub use repository::{SynthFile, SynthRepository};
pub use shapes::{SHAPES, Shape, shape};

/// What to make. Two equal ones make equal bytes, on every machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Synth {
    pub shape: Shape,
    pub format: WeightFormat,
    pub seed: u64,
    /// Number of weight files. More than one: with an index, and never more than there are tensors.
    pub shards: usize,
    /// Every how many layers one has routed experts (1: all).
    pub moe_step: usize,
    /// Layers without RoPE and QK-norm.
    pub no_rope_layers: Vec<usize>,
    /// The LM head is the embedding.
    pub tied: bool,
}

impl Synth {
    /// An INT4 checkpoint in one file, like the published ones.
    pub fn new(shape: Shape) -> Synth {
        let (format, seed, shards) = (WeightFormat::Int4G32, 0, 1);
        Synth {
            shape,
            format,
            seed,
            shards,
            moe_step: 1,
            no_rope_layers: Vec::new(),
            tied: true,
        }
    }

    /// The text of `config.json`, with every key of the published ones.
    pub fn config_json(&self) -> String {
        let shape = &self.shape;
        let uses_rope = |layer| u8::from(!self.no_rope_layers.contains(&layer));
        let attention = |layer| match shape.window > 0 && (layer + 1) % 4 != 0 {
            true => "sliding_attention",
            false => "full_attention",
        };
        let specials = tokenizer::Specials::of(shape.vocab);
        let mut config = json!({
            "architectures": ["MobileMoEForCausalLM"],
            "model_type": "mobilemoe",
            "vocab_size": shape.vocab,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.expert_size,
            "intermediate_size_mlp": shape.shared_size,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.query_heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": 64,
            "hidden_act": "silu",
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 16.0,
                "original_max_position_embeddings": 8192,
                "low_freq_factor": 1.0,
                "high_freq_factor": 1.0,
            },
            "num_local_experts": shape.experts,
            "num_experts_per_tok": shape.experts_per_token,
            "interleave_moe_layer_step": self.moe_step,
            "no_rope_layers": (0..shape.layers).map(uses_rope).collect::<Vec<_>>(),
            "layer_types": (0..shape.layers).map(attention).collect::<Vec<_>>(),
            "use_qk_norm": true,
            "attn_temperature_tuning": false,
            "tie_word_embeddings": self.tied,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": true,
            "torch_dtype": "bfloat16",
            "use_cache": true,
            "bos_token_id": specials.begin_of_text(),
            "eos_token_id": [specials.end_of_text(), specials.eot()],
        });
        if shape.window > 0 {
            config["sliding_window"] = shape.window.into();
        }
        if self.format == WeightFormat::Int4G32 {
            config["quantization"] = int4_block();
        }
        format!("{config:#}\n")
    }

    /// The model that this makes; an error if the shape is none that the engine can run.
    pub fn config(&self) -> Result<ModelConfig> {
        ModelConfig::from_json(self.config_json().as_bytes())
    }

    /// Makes the checkpoint and hands its files over, each in order and one after another, as (file, next bytes).
    pub fn write(&self, out: &mut dyn FnMut(&str, &[u8]) -> Result<()>) -> Result<()> {
        let config = self.config()?;
        out(CONFIG_FILE, self.config_json().as_bytes())?;
        for (file, json) in tokenizer::files(self.shape.vocab) {
            out(file, json.as_bytes())?;
        }
        let parameters = parameters(&config);
        let (weight_files, index) = self.weight_files(&parameters);
        if let Some(index) = index {
            out(INDEX_FILE, index.as_bytes())?;
        }
        let by_tensor = self.by_tensor(&parameters);
        let generator = weights::Generator::new(self.seed, config.layers.len());
        for (file, layout) in weight_files {
            out(&file, &layout.head)?;
            for tensor in &layout.tensors {
                let mut pieces = generator.pieces(by_tensor[&tensor.name], tensor);
                loop {
                    match pieces.next() {
                        [] => break,
                        bytes => out(&file, bytes)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Which parameter a tensor belongs to.
    fn by_tensor<'a>(&self, parameters: &'a [Parameter]) -> BTreeMap<String, &'a Parameter> {
        let names = |parameter: &'a Parameter| {
            let tensors = self.tensors(parameter).into_iter();
            tensors.map(move |tensor| (tensor.name, parameter))
        };
        parameters.iter().flat_map(names).collect()
    }

    /// The whole checkpoint in memory.
    pub fn in_memory(&self) -> Result<MemoryRepository> {
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        self.write(&mut |file, bytes| {
            match files.get_mut(file) {
                Some(content) => content.extend_from_slice(bytes),
                None => drop(files.insert(file.into(), bytes.into())),
            }
            Ok(())
        })?;
        let mut repository = MemoryRepository::default();
        files
            .into_iter()
            .for_each(|(file, bytes)| repository.insert(file, bytes));
        Ok(repository)
    }

    /// Length of all weight files.
    pub fn weight_bytes(&self) -> Result<u64> {
        let (files, _) = self.weight_files(&parameters(&self.config()?));
        Ok(files.values().map(|layout| layout.file_bytes).sum())
    }

    fn tensors(&self, parameter: &Parameter) -> Vec<TensorSpec> {
        match self.format {
            WeightFormat::Int4G32 => parameter.runtime_tensors(),
            WeightFormat::Bf16 => vec![parameter.bf16_tensor()],
        }
    }

    /// The weight files by name, and the index if there are several: about equally large, layer after layer.
    fn weight_files(&self, parameters: &[Parameter]) -> (BTreeMap<String, Layout>, Option<String>) {
        let tensors: Vec<TensorSpec> = parameters
            .iter()
            .flat_map(|parameter| self.tensors(parameter))
            .collect();
        let shards = self.shards.clamp(1, tensors.len());
        if shards == 1 {
            return (BTreeMap::from([(WEIGHTS_FILE.to_string(), layout(tensors))]), None);
        }
        let total: u64 = tensors.iter().map(TensorSpec::len_bytes).sum();
        let mut parts: Vec<Vec<TensorSpec>> = vec![Vec::new(); shards];
        let (mut done, mut shard, mut left) = (0, 0, tensors.len());
        for tensor in tensors {
            // On to the next shard when this one has its share, or when every shard left needs one of the tensors left.
            let has_share = done >= total * (shard as u64 + 1) / shards as u64;
            if !parts[shard].is_empty() && shard + 1 < shards && (has_share || left < shards - shard) {
                shard += 1;
            }
            done += tensor.len_bytes();
            left -= 1;
            parts[shard].push(tensor);
        }
        let mut weight_map = serde_json::Map::new();
        let mut files = BTreeMap::new();
        for (i, tensors) in parts.into_iter().enumerate() {
            let file = format!("model-{:05}-of-{shards:05}.safetensors", i + 1);
            weight_map.extend(
                tensors
                    .iter()
                    .map(|tensor| (tensor.name.clone(), Value::from(file.as_str()))),
            );
            files.insert(file, layout(tensors));
        }
        let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
        (files, Some(format!("{index:#}\n")))
    }
}

/// A tiny INT4 checkpoint with its tokenizer, in memory: about 1.5 MB, for a first look at a page or an engine.
pub fn tiny() -> Result<MemoryRepository> {
    Synth::new(shapes::TINY).in_memory()
}
