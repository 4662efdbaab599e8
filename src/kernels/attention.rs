//! Causal grouped-query attention over the KV cache.

use super::{LayerShape, Style, dot};
use crate::{
    config::{LayerConfig, ModelConfig},
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct Attention {
    kernel: Kernel,
    /// For one token and one split.
    workgroups: u32,
    window: usize,
    splits: usize,
}

/// The most splits of the cache while decoding: room for so many is made.
const MAX_SPLITS: usize = 16;

/// Splits that a kernel for tiles of `tile` tokens is compiled for; many tokens keep a GPU busy without.
pub(super) fn max_splits(tile: usize) -> usize {
    if tile == 1 { MAX_SPLITS } else { 1 }
}

/// Rows of `attended` and `softmax` in passes of at most `tokens` tokens: a row a token, or a row a split.
pub fn rows(tokens: usize) -> usize {
    tokens.max(MAX_SPLITS)
}

/// How many tokens a layer of this window looks back on, itself included, at most.
pub(super) fn window(layer: LayerConfig) -> usize {
    layer.window.unwrap_or(u32::MAX as usize)
}

impl Attention {
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> Attention {
        let config = shape.config;
        let constants = [
            ("QUERY_HEADS", config.query_heads.into()),
            ("KV_HEADS", config.kv_heads.into()),
            ("GROUP", (config.query_heads / config.kv_heads).into()),
            ("WINDOW", window(shape.layer).into()),
            ("SPLITS", max_splits(shape.form.tile).into()),
            ("SMALL_WORKGROUP", Style::SMALL_WORKGROUP.into()),
            ("KV_BITS", shape.kv.bits().into()),
        ];
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
            Access::ReadWrite,
        ];
        let source = shape.form.style.source(
            include_str!("../../shaders/attention.wgsl"),
            include_str!("../../shaders/thread/attention.wgsl"),
        );
        Attention {
            kernel: Kernel::new(gpu, "attention", source, &constants, &bindings),
            workgroups: shape.form.style.workgroups(config.kv_heads, config.query_heads),
            window: window(shape.layer),
            splits: max_splits(shape.form.tile),
        }
    }

    pub fn bind(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        query: &wgpu::Buffer,
        cache: &wgpu::Buffer,
        attended: &wgpu::Buffer,
        softmax: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.kernel.bind(
            gpu,
            &[step, query, cache, attended, softmax].map(wgpu::Buffer::as_entire_binding),
        )
    }

    /// `position`: of the first of `count` tokens.
    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, position: usize, count: usize) -> Dispatch<'a> {
        // As shaders/shared/splits.wgsl counts them.
        let seen = (position + count).min(self.window);
        let splits = seen.div_ceil(64).clamp(1, self.splits);
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [self.workgroups, count as u32, splits as u32].into(),
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
    use crate::{
        gpu::Workgroups,
        kernels::{Form, KvFormat, PREFILL_TILE, testing::*},
    };

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(3);
        for case in 0..24 {
            let config = config(&mut random);
            let layer = LayerConfig {
                rope: true,
                moe: true,
                window: [None, Some([1, 63, 64, 100, 302][random.usize(..5)])][case / 2 % 2],
            };
            let data = LayerData::new(&mut random, &config, layer);
            let kv = [KvFormat::F32, KvFormat::F16, KvFormat::I8][case % 3];
            let position = [0, 1, 62, 63, 64, 300, 1100][random.usize(..7)];
            let (tile, count) = [(1, 1), (PREFILL_TILE, random.usize(1..6))][random.usize(..2)];

            let width = config.kv_heads * 64;
            let query = floats(&mut random, count * config.query_heads * 64, 4.0);
            let cached = floats(&mut random, (position + count) * 2 * width, 1.0);
            let rows = rows(count);
            let attended = gpu.storage("attended", (rows * config.query_heads * 256) as u64);
            let softmax = gpu.storage("softmax", (rows * config.query_heads * 8) as u64);
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv,
                form: Form {
                    tile,
                    ..[Form::WORKGROUP, Form::THREAD][case / 4 % 2]
                },
                tokens: count,
            };
            let kernel = Attention::new(&gpu, &shape);
            let cache = upload_kv(&gpu, &cached, kv);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, position, count),
                &gpu.upload("query", &query),
                &cache,
                &attended,
                &softmax,
            );
            let dispatch = kernel.dispatch(&bind_group, position, count);
            let splits = match dispatch.workgroups {
                Workgroups::Direct([_, _, splits]) => splits as usize,
                Workgroups::Indirect(..) => unreachable!("attention is dispatched directly"),
            };
            run(&gpu, dispatch);

            // The twin sees what the cache really holds.
            let cached = read_kv(&gpu, &cache, kv, cached.len() / 64);
            let of_cache = |is_value: usize| -> Vec<f32> {
                cached
                    .chunks_exact(width)
                    .skip(is_value)
                    .step_by(2)
                    .flatten()
                    .copied()
                    .collect()
            };
            let twin = attention(&config, layer, &query, &of_cache(0), &of_cache(1), position);
            let (attended, softmax): (Vec<f32>, Vec<[f32; 2]>) = (read(&gpu, &attended), read(&gpu, &softmax));
            let found = join_splits(&attended, &softmax, splits, count * config.query_heads);
            assert_close(&found, &twin, 1e-4);
        }
    }
}
