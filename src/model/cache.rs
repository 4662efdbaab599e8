//! The keys and values of one conversation.

use super::Model;
use crate::Result;

/// One buffer a layer, `[positions, k|v, kv_heads]` rows of 64; grows with the conversation.
pub struct KvCache {
    layers: Vec<CachedLayer>,
    positions: usize,
}

struct CachedLayer {
    buffer: wgpu::Buffer,
    qkv: wgpu::BindGroup,
    attention: wgpu::BindGroup,
}

/// Positions that a cache begins with.
const FIRST_POSITIONS: usize = 256;

impl KvCache {
    pub async fn new(model: &Model) -> Result<KvCache> {
        let mut cache = KvCache {
            layers: Vec::new(),
            positions: 0,
        };
        cache
            .reserve(model, FIRST_POSITIONS.min(model.plan.context_length))
            .await?;
        Ok(cache)
    }

    /// A copy of the first `positions`, made on the GPU.
    pub async fn fork(&self, model: &Model, positions: usize) -> Result<KvCache> {
        let mut fork = KvCache {
            layers: Vec::new(),
            positions: 0,
        };
        let room = FIRST_POSITIONS.min(model.plan.context_length).max(positions);
        fork.reserve(model, room).await?;
        let row_bytes = model.plan.kv_bytes_per_token / model.config.layers.len() as u64;
        let mut commands = model.gpu.commands();
        for (from, to) in self.layers.iter().zip(&fork.layers) {
            commands.copy(&from.buffer, &to.buffer, row_bytes * positions as u64);
        }
        commands.submit();
        Ok(fork)
    }

    /// Makes room for this many positions, doubling the buffers as often as need be. What is cached stays.
    pub async fn reserve(&mut self, model: &Model, positions: usize) -> Result<()> {
        if positions <= self.positions {
            return Ok(());
        }
        let room = positions
            .next_power_of_two()
            .min(model.plan.context_length)
            .max(positions);
        let row_bytes = model.plan.kv_bytes_per_token / model.config.layers.len() as u64;
        let gpu = &model.gpu;
        let buffers = gpu
            .guard("the KV cache", || {
                model
                    .config
                    .layers
                    .iter()
                    .map(|_| gpu.storage("kv cache", row_bytes * room as u64))
                    .collect::<Vec<_>>()
            })
            .await?;
        let mut commands = gpu.commands();
        for (old, new) in self.layers.iter().zip(&buffers) {
            commands.copy(&old.buffer, new, row_bytes * self.positions as u64);
        }
        commands.submit();
        for old in &self.layers {
            old.buffer.destroy();
        }
        self.layers = (buffers.into_iter().enumerate())
            .map(|(layer, buffer)| {
                let (qkv, attention) = model.bind_cache(layer, &buffer);
                CachedLayer { buffer, qkv, attention }
            })
            .collect();
        self.positions = room;
        Ok(())
    }

    /// Fills the first positions with random keys and values of unit variance, the same in every layer: for measuring how
    /// long attention to so many tokens takes, where computing them would take too long.
    pub async fn fill(&mut self, model: &Model, positions: usize) -> Result<()> {
        self.reserve(model, positions).await?;
        let mut random = fastrand::Rng::with_seed(positions as u64);
        let mut value = || (random.f32() - 0.5) * 12f32.sqrt();
        let values = positions * 2 * model.config.kv_size();
        let bytes = model.plan.kv.encode(&(0..values).map(|_| value()).collect::<Vec<_>>());
        for layer in &self.layers {
            model.gpu.write(&layer.buffer, 0, &bytes);
            model.gpu.idle().await?; // or the uploads of all layers would wait in CPU memory
        }
        Ok(())
    }

    /// GPU memory held, in bytes.
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.buffer.size()).sum()
    }

    pub(super) fn qkv(&self, layer: usize) -> &wgpu::BindGroup {
        &self.layers[layer].qkv
    }

    pub(super) fn attention(&self, layer: usize) -> &wgpu::BindGroup {
        &self.layers[layer].attention
    }
}

impl Drop for KvCache {
    /// Frees the memory now: a browser's garbage collector may take its time.
    fn drop(&mut self) {
        for layer in &self.layers {
            layer.buffer.destroy();
        }
    }
}
