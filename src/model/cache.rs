//! The keys and values of one conversation.

use super::Model;
use crate::Result;

/// One buffer a layer, `[positions, k|v, kv_heads, 64]`; grows with the conversation.
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
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for (old, new) in self.layers.iter().zip(&buffers) {
            encoder.copy_buffer_to_buffer(&old.buffer, 0, new, 0, row_bytes * self.positions as u64);
        }
        gpu.queue.submit([encoder.finish()]);
        self.layers = (buffers.into_iter().enumerate())
            .map(|(layer, buffer)| {
                let (qkv, attention) = model.bind_cache(layer, &buffer);
                CachedLayer { buffer, qkv, attention }
            })
            .collect();
        self.positions = room;
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
