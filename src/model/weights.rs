//! The weights' buffers, and their filling while a checkpoint streams by.

use std::collections::HashMap;

use super::{Plan, Progress, Stage};
use crate::{
    ModelConfig, Result,
    checkpoint::{Checkpoint, Repository, TensorSink, runtime_tensors},
    config::LayerConfig,
    gpu::Gpu,
    kernels::{LayerLayout, Style, transpose::Transpose},
};

/// All weights, in the bytes of the published file; only where kernels of the thread style run, the routed experts' matrices
/// are turned around.
pub struct Weights {
    /// Nibbles and scales of `model.embed_tokens`.
    pub embedding: [wgpu::Buffer; 2],
    /// Nibbles and scales of the LM head: the embedding's, if they are tied.
    pub head: [wgpu::Buffer; 2],
    /// `model.norm.weight`, BF16.
    pub norm: wgpu::Buffer,
    /// One buffer a layer, laid out as [`Plan::layout`] says.
    pub layers: Vec<wgpu::Buffer>,
}

impl Weights {
    /// Every buffer, once.
    pub fn buffers(&self) -> impl Iterator<Item = &wgpu::Buffer> {
        let untied = self.head.iter().filter(|head| !self.embedding.contains(head));
        self.embedding
            .iter()
            .chain(untied)
            .chain([&self.norm])
            .chain(&self.layers)
    }

    /// Makes the buffers, then streams the checkpoint into them, for kernels of this style.
    pub async fn load<R: Repository>(
        gpu: &Gpu,
        plan: &Plan,
        style: Style,
        checkpoint: &Checkpoint<R>,
        progress: Progress<'_>,
    ) -> Result<Weights> {
        let config = checkpoint.config();
        let mut places = HashMap::new();
        let weights = gpu
            .guard("the weights", || Weights::allocate(gpu, plan, config, &mut places))
            .await?;
        let mut sink = Uploader {
            gpu,
            places,
            pending_bytes: 0,
        };
        // Before anything is fetched: what the device refuses it refuses now.
        let turns = match style {
            Style::Workgroup => vec![],
            Style::Thread => {
                let made = gpu.guard("a copy of a layer", || Turn::of_all(gpu, plan, config));
                made.await?
            }
        };
        let mut bytes = |done, total| progress(Stage::Weights, done, total);
        checkpoint.stream(&mut sink, &mut bytes).await?;
        gpu.idle().await?;
        weights.turn_experts(gpu, config, turns).await?;
        Ok(weights)
    }

    /// Turns the routed experts' matrices around, a layer at a time, out of a copy of it.
    async fn turn_experts(&self, gpu: &Gpu, config: &ModelConfig, turns: Vec<Turn>) -> Result<()> {
        for Turn {
            kind,
            tensors,
            published,
        } in turns
        {
            let layers = config.layers.iter().zip(&self.layers);
            for (_, layer) in layers.filter(|(layer, _)| **layer == kind) {
                let binds = tensors.each_ref().map(|tensor| tensor.bind(gpu, &published, layer));
                let mut commands = gpu.commands();
                commands.copy(layer, &published, published.size());
                commands.pass(|pass| {
                    for (tensor, bind) in tensors.iter().zip(&binds) {
                        tensor.dispatch(bind).encode(pass);
                    }
                });
                commands.submit();
                gpu.idle().await?;
            }
            published.destroy();
        }
        Ok(())
    }

    fn allocate(gpu: &Gpu, plan: &Plan, config: &ModelConfig, places: &mut HashMap<String, Place>) -> Weights {
        let mut outside = HashMap::new();
        for tensor in runtime_tensors(config)
            .iter()
            .filter(|tensor| !tensor.name.starts_with("model.layers."))
        {
            let buffer = gpu.storage(&tensor.name, tensor.len_bytes());
            places.insert(
                tensor.name.clone(),
                Place {
                    buffer: buffer.clone(),
                    offset_bytes: 0,
                },
            );
            outside.insert(tensor.name.clone(), buffer);
        }
        let mut layers = Vec::new();
        for (i, layer) in config.layers.iter().enumerate() {
            let layout = plan.layout(*layer);
            let buffer = gpu.storage(&format!("layer {i}"), layout.bytes());
            for (name, offset_bytes) in layout.tensors() {
                let place = Place {
                    buffer: buffer.clone(),
                    offset_bytes,
                };
                places.insert(format!("model.layers.{i}.{name}"), place);
            }
            layers.push(buffer);
        }
        let matrix =
            |name: &str| [format!("{name}.qweight"), format!("{name}.weight_scale")].map(|part| outside[&part].clone());
        Weights {
            embedding: matrix("model.embed_tokens"),
            head: matrix(if config.tied_embeddings {
                "model.embed_tokens"
            } else {
                "lm_head"
            }),
            norm: outside["model.norm.weight"].clone(),
            layers,
        }
    }
}

/// What turns the experts of one kind of layer.
struct Turn {
    kind: LayerConfig,
    tensors: [Transpose; 4],
    /// Room for a copy of a layer as it was published.
    published: wgpu::Buffer,
}

impl Turn {
    fn of_all(gpu: &Gpu, plan: &Plan, config: &ModelConfig) -> Vec<Turn> {
        let of_kind = |(kind, layout): &(LayerConfig, LayerLayout)| Turn {
            kind: *kind,
            tensors: Transpose::of_layer(gpu, config, layout),
            published: gpu.storage("published", layout.bytes()),
        };
        plan.kinds.iter().filter(|(kind, _)| kind.moe).map(of_kind).collect()
    }
}

struct Place {
    buffer: wgpu::Buffer,
    offset_bytes: u64,
}

/// Writes tensors to their places as they arrive. Waits for the GPU now and then: uploads under way sit in CPU memory.
struct Uploader<'a> {
    gpu: &'a Gpu,
    places: HashMap<String, Place>,
    pending_bytes: usize,
}

/// Uploads that may be under way at once.
const PENDING_BYTES: usize = 16 << 20;

impl TensorSink for Uploader<'_> {
    async fn write(&mut self, tensor: &str, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let place = &self.places[tensor];
        let offset = place.offset_bytes + offset_bytes;
        // Copies are made in whole words: only a tensor's last word can be short, and the layout leaves it room.
        let (words, rest) = bytes.split_at(bytes.len() & !3);
        self.gpu.write(&place.buffer, offset, words);
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            self.gpu.write(&place.buffer, offset + words.len() as u64, &last);
        }
        self.pending_bytes += bytes.len();
        if self.pending_bytes >= PENDING_BYTES {
            self.gpu.idle().await?;
            self.pending_bytes = 0;
        }
        Ok(())
    }
}
