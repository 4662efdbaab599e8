//! The forward pass on the CPU, in f32, made of the kernels' twins: slow, and to be read beside the paper.

use std::collections::HashMap;

use crate::{
    ModelConfig, Result,
    checkpoint::{Checkpoint, ParameterKind, Repository, TensorSink, parameters},
    config::WeightFormat,
    kernels::{
        Choice, Inputs, LayerTensors, Matrix, attention::attention, bf16_values, embed::embed,
        experts_down::experts_down, experts_up::experts_up, lm_head::lm_head, o_proj::o_proj, qkv::qkv, rope,
        route::route,
    },
};

/// A model in CPU memory, its weights as stored: INT4, or BF16 as SFT and Base checkpoints have them.
pub struct Reference {
    pub config: ModelConfig,
    /// How the inputs of INT4 matrices are kept: as they are, unless it is told otherwise.
    pub inputs: Inputs,
    tensors: HashMap<String, Vec<u8>>,
}

/// Keys and values `[positions, kv_heads, 64]` of each layer.
#[derive(Debug, Clone, Default)]
pub struct ReferenceCache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    positions: usize,
}

/// What one pass did, for comparisons.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// Residual stream `[tokens, hidden]` before each layer, and after the last.
    pub hidden: Vec<Vec<f32>>,
    /// What attention added in each layer `[tokens, hidden]`.
    pub attention: Vec<Vec<f32>>,
    /// What the experts added in each layer `[tokens, hidden]`.
    pub feed_forward: Vec<Vec<f32>>,
    /// `[tokens, experts_per_token]` of each layer; empty for a dense one.
    pub choices: Vec<Vec<Choice>>,
}

impl Reference {
    /// Reads a checkpoint. BF16 weights stay BF16 unless `quantize` asks for what the GPU would run.
    pub async fn load<R: Repository>(checkpoint: &Checkpoint<R>, quantize: bool) -> Result<Reference> {
        let mut config = checkpoint.config().clone();
        let mut tensors = HashMap::new();
        if config.weights == WeightFormat::Bf16 && !quantize {
            for parameter in parameters(&config) {
                let raw = checkpoint.read_raw(&parameter.name).await?;
                let wide = checkpoint
                    .tensor(&parameter.name)
                    .is_some_and(|t| t.len_bytes == 4 * parameter.elements());
                let is_router = parameter.kind == ParameterKind::Router;
                let raw = if is_router && !wide {
                    f32_bytes(&bf16_values(&raw))
                } else {
                    raw
                };
                tensors.insert(parameter.name, raw);
            }
        } else {
            config.weights = WeightFormat::Int4G32;
            let mut sink = Memory(HashMap::new());
            checkpoint.stream(&mut sink, &mut |_, _| ()).await?;
            tensors = sink.0;
        }
        Ok(Reference {
            config,
            inputs: Inputs::F32,
            tensors,
        })
    }

    /// Runs `ids` after what `cache` holds, and appends them to it. Returns the residual stream `[tokens, hidden]`.
    pub fn forward(&self, cache: &mut ReferenceCache, ids: &[u32], mut trace: Option<&mut Trace>) -> Vec<f32> {
        let config = &self.config;
        let position = cache.positions;
        let rope = rope::table(config, position + ids.len());
        cache.layers.resize(config.layers.len(), Default::default());

        let mut x = embed(&self.matrix("model.embed_tokens"), ids);
        for (i, (layer, (keys, values))) in config.layers.iter().zip(&mut cache.layers).enumerate() {
            let raw = |name: &str| self.raw(&format!("model.layers.{i}.{name}"));
            let tensors = LayerTensors::new(config, *layer, self.inputs, &raw);
            let before = x.clone();

            let projected = qkv(config, *layer, &tensors, &rope, &x, position);
            keys.extend(projected.key);
            values.extend(projected.value);
            let attended = attention(config, *layer, &projected.query, keys, values, position);
            o_proj(&tensors.o, &attended, config.hidden_size, &mut x);
            let between = x.clone();

            let (h, choices) = route(config, &tensors, &x);
            let activations = experts_up(config, &tensors, &h, &choices);
            experts_down(config, &tensors, &activations, &choices, &mut x);

            if let Some(trace) = &mut trace {
                trace.attention.push(difference(&between, &before));
                trace.feed_forward.push(difference(&x, &between));
                trace.hidden.push(before);
                trace.choices.push(choices);
            }
        }
        cache.positions += ids.len();
        if let Some(trace) = trace {
            trace.hidden.push(x.clone());
        }
        x
    }

    /// Logits `[rows, vocab]` of residual streams `[rows, hidden]`.
    pub fn logits(&self, x: &[f32]) -> Vec<f32> {
        let head = self.matrix(if self.config.tied_embeddings {
            "model.embed_tokens"
        } else {
            "lm_head"
        });
        lm_head(&self.config, &head, &bf16_values(self.raw("model.norm.weight")), x)
    }

    /// A tensor's stored bytes, to be changed: tests show that a wrong weight is noticed.
    pub fn tensor_mut(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        self.tensors.get_mut(name)
    }

    fn matrix(&self, name: &str) -> Matrix<'_> {
        let columns = self.config.hidden_size;
        match self.config.weights {
            WeightFormat::Int4G32 => Matrix::Int4 {
                qweight: self.raw(&format!("{name}.qweight")),
                scale: self.raw(&format!("{name}.weight_scale")),
                columns,
                inputs: self.inputs,
            },
            WeightFormat::Bf16 => Matrix::Bf16 {
                values: self.raw(&format!("{name}.weight")),
                columns,
            },
        }
    }

    fn raw(&self, name: &str) -> &[u8] {
        &self.tensors[name]
    }
}

/// Collects whole tensors.
struct Memory(HashMap<String, Vec<u8>>);

impl TensorSink for Memory {
    async fn write(&mut self, tensor: &str, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let whole = self.0.entry(tensor.to_string()).or_default();
        let end = offset_bytes as usize + bytes.len();
        whole.resize(whole.len().max(end), 0);
        whole[offset_bytes as usize..end].copy_from_slice(bytes);
        Ok(())
    }
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn difference(after: &[f32], before: &[f32]) -> Vec<f32> {
    after.iter().zip(before).map(|(after, before)| after - before).collect()
}
