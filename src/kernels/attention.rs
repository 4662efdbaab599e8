//! Causal grouped-query attention over the KV cache.

use super::{Form, LayerShape, PREFILL_TILE, Style, dot, tiles};
use crate::{
    config::{LayerConfig, ModelConfig},
    gpu::{Access, Dispatch, Gpu, Kernel, constant::Constant},
};

pub struct Attention {
    kernel: Kernel,
    form: Form,
    /// Pieces of work for one token and one split: KV heads, or as many query heads of one as a thread takes.
    parts: usize,
    /// Tokens a workgroup, a thread, or a quad of threads.
    tile: usize,
    window: usize,
    splits: Splits,
}

/// How the positions that one token sees are shared out while decoding, so that one token keeps a device busy.
#[derive(Clone, Copy)]
pub(super) struct Splits {
    /// Positions that are worth a split of their own.
    positions: usize,
    most: usize,
}

/// The most query heads to a KV head that let tokens share a read of the cache: a head takes 3 KiB of the 16 that a workgroup has.
const MAX_TILED_GROUP: usize = 5;

/// Room is made for so many.
const MAX_SPLITS: usize = 16;

/// The most query heads whose splits o_proj can put together in thread style: a head takes 256 bytes of workgroup memory.
const MAX_JOINED_HEADS: usize = 64;

impl Splits {
    /// For kernels of this form; many tokens keep a device busy without.
    pub(super) fn new(form: Form, query_heads: usize) -> Splits {
        let (positions, most) = match (form.style, form.tile) {
            (Style::Workgroup, 1) => (64, MAX_SPLITS),
            // As many as such devices have cores, few that o_proj has to put together.
            (Style::Thread, 1) if query_heads <= MAX_JOINED_HEADS => (16, 4),
            _ => (64, 1),
        };
        Splits { positions, most }
    }

    /// As `splits_of` of shaders/shared/splits.wgsl.
    pub(super) fn of(self, seen: usize) -> usize {
        seen.div_ceil(self.positions).clamp(1, self.most)
    }

    pub(super) fn constants(self) -> [(&'static str, Constant); 2] {
        [("SPLIT", self.positions.into()), ("SPLITS", self.most.into())]
    }
}

/// Rows of `attended` and `softmax` in passes of at most `tokens` tokens: a row a token, or a row a split.
pub fn rows(tokens: usize) -> usize {
    tokens.max(MAX_SPLITS)
}

/// How many tokens a layer of this window looks back on, itself included, at most.
pub(super) fn window(layer: LayerConfig) -> usize {
    layer.window.unwrap_or(u32::MAX as usize)
}

/// Of the `group` query heads that share a KV head, how many a thread takes. There are vectors of 2 to 4; of 4 only where no
/// thread has fewer: Mesa's compiler takes 15 s otherwise.
fn heads_a_thread(group: usize) -> usize {
    match group {
        1..=4 => group.max(2),
        _ => group.div_ceil(group.div_ceil(3)),
    }
}

impl Attention {
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> Attention {
        let config = shape.config;
        let group = config.query_heads / config.kv_heads;
        let heads = heads_a_thread(group);
        let tile = match shape.form.style {
            Style::Workgroup if group <= MAX_TILED_GROUP => shape.form.tile.min(PREFILL_TILE),
            Style::Workgroup => 1,
            Style::Thread => shape.form.lanes(),
        };
        let splits = Splits::new(shape.form, config.query_heads);
        let constants = [
            ("QUERY_HEADS", config.query_heads.into()),
            ("KV_HEADS", config.kv_heads.into()),
            ("GROUP", group.into()),
            ("HEADS", heads.into()),
            ("TILE", tile.into()),
            ("WINDOW", window(shape.layer).into()),
            ("SMALL_WORKGROUP", Form::SMALL_WORKGROUP.into()),
            ("LANES_BY", shape.form.lanes_by().into()),
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
        let constants = [&constants[..], &splits.constants()].concat();
        Attention {
            kernel: Kernel::new(gpu, "attention", source, &constants, &bindings),
            form: shape.form,
            parts: match shape.form.style {
                Style::Workgroup => config.kv_heads,
                Style::Thread => config.kv_heads * group.div_ceil(heads),
            },
            tile,
            window: window(shape.layer),
            splits,
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
        let parts = self.parts * self.splits(position, count);
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [self.form.workgroups(parts, parts), tiles(count, self.tile), 1].into(),
        }
    }

    fn splits(&self, position: usize, count: usize) -> usize {
        self.splits.of((position + count).min(self.window))
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
    use crate::kernels::{KvFormat, testing::*};

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(3);
        let features = pollster::block_on(gpu.features()).unwrap();
        let has_quads = Form::QUADS.check(features).is_ok();
        let quads = if has_quads { Form::QUADS } else { Form::THREAD };
        for case in 0..36 {
            let mut config = config(&mut random);
            config.query_heads = config.kv_heads * (1 + case / 4); // the heads in a group, 1 to 9
            let layer = LayerConfig {
                rope: true,
                moe: true,
                window: [None, Some([1, 3, 63, 64, 66, 100, 302][random.usize(..7)])][case / 9 % 2],
            };
            let data = LayerData::new(&mut random, &config, layer);
            let kv = [KvFormat::F32, KvFormat::F16, KvFormat::I8][case % 3];
            let form = [Form::WORKGROUP, Form::THREAD, quads][case / 3 % 3];
            let position = [0, 1, 62, 63, 64, 300, 1100][random.usize(..7)];
            let (form, count) = if form == Form::QUADS || random.bool() {
                (form, random.usize(1..10))
            } else {
                (form.decoding(), 1)
            };

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
                form,
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
            run(&gpu, kernel.dispatch(&bind_group, position, count));
            let splits = kernel.splits(position, count);

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
