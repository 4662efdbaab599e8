//! Causal grouped-query attention over the KV cache.

use super::{KvFormat, LayerShape, dot};
use crate::{
    config::{LayerConfig, ModelConfig},
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct Attention {
    kernel: Kernel,
    kv_heads: usize,
}

impl Attention {
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> Attention {
        let config = shape.config;
        let constants = [
            ("QUERY_HEADS", config.query_heads.into()),
            ("KV_HEADS", config.kv_heads.into()),
            ("GROUP", (config.query_heads / config.kv_heads).into()),
            ("WINDOW", shape.layer.window.unwrap_or(u32::MAX as usize).into()),
            ("KV_F16", (shape.kv == KvFormat::F16).into()),
        ];
        let bindings = [Access::Read, Access::Read, Access::Read, Access::ReadWrite];
        let source = include_str!("../../shaders/attention.wgsl");
        Attention {
            kernel: Kernel::new(gpu, "attention", source, &constants, &bindings),
            kv_heads: config.kv_heads,
        }
    }

    pub fn bind(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        query: &wgpu::Buffer,
        cache: &wgpu::Buffer,
        attended: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.kernel.bind(
            gpu,
            &[step, query, cache, attended].map(wgpu::Buffer::as_entire_binding),
        )
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [self.kv_heads as u32, count as u32, 1],
        }
    }
}

/// The twin. `query` `[tokens, query_heads, 64]`; `keys` and `values` `[positions, kv_heads, 64]` up to the last token;
/// returns `[tokens, query_heads, 64]`.
pub fn attention(
    config: &ModelConfig,
    layer: LayerConfig,
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    position: usize,
) -> Vec<f32> {
    let (heads, kv_heads, dim) = (config.query_heads, config.kv_heads, config.head_dim);
    let scale = 1.0 / (dim as f32).sqrt();
    let mut attended = Vec::with_capacity(query.len());
    for (i, query) in query.chunks_exact(dim).enumerate() {
        let (token, head) = (i / heads, i % heads);
        let kv_head = head / (heads / kv_heads);
        let row = |position: usize| (position * kv_heads + kv_head) * dim;

        let length = position + token + 1;
        let first = length - layer.window.unwrap_or(length).min(length);
        let scores: Vec<f32> = (first..length)
            .map(|p| scale * dot(query, &keys[row(p)..][..dim]))
            .collect();
        let largest = scores.iter().copied().fold(f32::MIN, f32::max);
        let shares: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
        let total: f32 = shares.iter().sum();

        let mut sum = vec![0.0; dim];
        for (p, share) in shares.iter().enumerate() {
            for (sum, value) in sum.iter_mut().zip(&values[row(first + p)..][..dim]) {
                *sum += share / total * value;
            }
        }
        attended.extend(sum);
    }
    attended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::*;

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(3);
        for case in 0..18 {
            let config = config(&mut random);
            let layer = LayerConfig {
                rope: true,
                moe: true,
                window: [None, Some([1, 63, 64, 100, 302][random.usize(..5)])][case / 2 % 2],
            };
            let data = LayerData::new(&mut random, &config, layer);
            let kv = [KvFormat::F32, KvFormat::F16][case % 2];
            let (position, count) = ([0, 1, 62, 63, 64, 300][random.usize(..6)], random.usize(1..6));

            let width = config.kv_heads * 64;
            let query = floats(&mut random, count * config.query_heads * 64, 4.0);
            let cached = floats(&mut random, (position + count) * 2 * width, 1.0);
            let attended = gpu.storage("attended", (query.len() * 4) as u64);
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv,
                tile: 1,
            };
            let kernel = Attention::new(&gpu, &shape);
            let cache = upload_kv(&gpu, &cached, kv);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, position, count),
                &gpu.upload("query", &query),
                &cache,
                &attended,
            );
            run(&gpu, kernel.dispatch(&bind_group, count));

            // The twin sees what the cache really holds.
            let cached = read_kv(&gpu, &cache, kv);
            let rows = |is_value: usize| -> Vec<f32> {
                cached
                    .chunks_exact(width)
                    .skip(is_value)
                    .step_by(2)
                    .flatten()
                    .copied()
                    .collect()
            };
            let twin = attention(&config, layer, &query, &rows(0), &rows(1), position);
            assert_close(&read(&gpu, &attended), &twin, 1e-4);
        }
    }
}
