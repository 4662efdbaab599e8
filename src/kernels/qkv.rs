//! RMSNorm, the three projections, RoPE and QK-norm; keys and values go into the cache.

use super::{
    Block, LayerShape, LayerTensors,
    matrix::{inverse_rms, rms_norm},
    tiles,
};
use crate::{
    config::{LayerConfig, ModelConfig},
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct Qkv {
    kernel: Kernel,
    workgroups: u32,
    tile: usize,
}

impl Qkv {
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> Qkv {
        let LayerShape {
            config,
            layer,
            layout,
            kv,
            form,
            tokens,
        } = *shape;
        let heads = config.query_heads + 2 * config.kv_heads;
        let head = Block {
            rows: 64,
            inputs: config.hidden_size,
        };
        let own_heads = form.blocks_in_prefill(heads, head, 7168);
        let constants = [
            ("LAYER_WORDS", layout.words().into()),
            ("TOKENS", tokens.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("OWN_HEADS", own_heads.into()),
            ("QUERY_HEADS", config.query_heads.into()),
            ("KV_HEADS", config.kv_heads.into()),
            ("EPS", config.rms_norm_eps.into()),
            ("ROPE", layer.rope.into()),
            ("QK_NORM", config.use_qk_norm.into()),
            ("KV_BITS", kv.bits().into()),
            ("NORM", layout.at("input_layernorm.weight", 4).into()),
            ("WQ", layout.at("self_attn.q_proj.qweight", 16).into()),
            ("WQ_SCALE", layout.at("self_attn.q_proj.weight_scale", 2).into()),
            ("WK", layout.at("self_attn.k_proj.qweight", 16).into()),
            ("WK_SCALE", layout.at("self_attn.k_proj.weight_scale", 2).into()),
            ("WV", layout.at("self_attn.v_proj.qweight", 16).into()),
            ("WV_SCALE", layout.at("self_attn.v_proj.weight_scale", 2).into()),
        ];
        let constants = [form.constants(gpu).as_slice(), &constants].concat();
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
            Access::ReadWrite,
        ];
        let source = form.style.source(
            include_str!("../../shaders/qkv.wgsl"),
            include_str!("../../shaders/thread/qkv.wgsl"),
        );
        Qkv {
            kernel: Kernel::new(gpu, "qkv", source, &constants, &bindings),
            workgroups: form.workgroups(heads, heads / own_heads),
            tile: form.tile,
        }
    }

    #[allow(clippy::too_many_arguments)] // one a binding
    pub fn bind(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        layer: &wgpu::Buffer,
        x: &wgpu::Buffer,
        rope: &wgpu::Buffer,
        query: &wgpu::Buffer,
        cache: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.kernel.bind(
            gpu,
            &[step, layer, layer, x, rope, query, cache].map(wgpu::Buffer::as_entire_binding),
        )
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [self.workgroups, tiles(count, self.tile), 1].into(),
        }
    }
}

/// Query `[tokens, query_heads, 64]`, key and value `[tokens, kv_heads, 64]`.
pub struct Projected {
    pub query: Vec<f32>,
    pub key: Vec<f32>,
    pub value: Vec<f32>,
}

/// The twin. `x` `[tokens, hidden]`, `rope` from [`super::rope::table`], `position` of the first token.
pub fn qkv(
    config: &ModelConfig,
    layer: LayerConfig,
    tensors: &LayerTensors,
    rope: &[[f32; 2]],
    x: &[f32],
    position: usize,
) -> Projected {
    let h = rms_norm(x, &tensors.input_norm, config.rms_norm_eps);
    let dim = config.head_dim;
    let mut query = tensors.q.linear(&h, config.query_heads * dim);
    let mut key = tensors.k.linear(&h, config.kv_heads * dim);
    let value = tensors.v.linear(&h, config.kv_heads * dim);
    if layer.rope {
        for (values, heads) in [(&mut query, config.query_heads), (&mut key, config.kv_heads)] {
            for (i, head) in values.chunks_exact_mut(dim).enumerate() {
                rotate(head, &rope[(position + i / heads) * dim / 2..]);
                if config.use_qk_norm {
                    let scale = inverse_rms(head, config.rms_norm_eps);
                    head.iter_mut().for_each(|value| *value *= scale);
                }
            }
        }
    }
    Projected { query, key, value }
}

/// Rotates the pairs (2j, 2j + 1) of a head by the angles whose cos and sin are given.
fn rotate(head: &mut [f32], angles: &[[f32; 2]]) {
    for (pair, [cos, sin]) in head.chunks_exact_mut(2).zip(angles) {
        let [a, b] = [pair[0], pair[1]];
        pair[0] = a * cos - b * sin;
        pair[1] = a * sin + b * cos;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{KvFormat, dot, rope, testing::*};

    #[test]
    fn rotation_keeps_the_norm() {
        let config = config(&mut fastrand::Rng::with_seed(1));
        let table = rope::table(&config, 100);
        let mut head: Vec<f32> = (0..64).map(|i| i as f32 - 31.0).collect();
        let before = dot(&head, &head);
        rotate(&mut head, &table[99 * 32..]);
        assert!((dot(&head, &head) / before - 1.0).abs() < 1e-6);
    }

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(2);
        let forms = forms(&gpu);
        for case in 0..2 * forms.len() {
            let form = forms[case / 2];
            let config = config_of(&mut random, case % 2 == 0);
            let layer = LayerConfig {
                rope: random.u8(..3) != 0,
                moe: true,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let (position, count) = (random.usize(..200), random.usize(1..10));
            let kv = [KvFormat::F32, [KvFormat::F16, KvFormat::I8][random.usize(..2)]][random.usize(..2)];
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv,
                form,
                tokens: count,
            };

            let angles = rope::table(&config, position + count);
            let x = floats(&mut random, count.next_multiple_of(form.tile) * config.hidden_size, 2.0);
            let kv_values = (position + count) * 2 * config.kv_heads * 64;
            let query = gpu.storage("query", (count * config.query_heads * 256) as u64);
            let cache = gpu.storage("cache", (kv_values / 64 * kv.row_bytes()) as u64);
            let kernel = Qkv::new(&gpu, &shape);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, position, count),
                &data.upload(&gpu),
                &gpu.upload("x", &x),
                &gpu.upload("rope", &angles),
                &query,
                &cache,
            );
            run(&gpu, kernel.dispatch(&bind_group, count));

            let x = &x[..count * config.hidden_size];
            let twin = qkv(
                &config,
                layer,
                &data.tensors(&config, layer, form.inputs),
                &angles,
                x,
                position,
            );
            assert_close(&read(&gpu, &query), &twin.query, tolerance(form.inputs));
            // [positions, k|v, kv_heads, 64]
            let cached = read_kv(&gpu, &cache, kv, kv_values / 64);
            let width = config.kv_heads * 64;
            let rounding = match kv {
                KvFormat::F32 => 0.0,
                KvFormat::F16 => 2e-3,
                // Half a step of the largest value, which QK-norm and these weights keep below 8.
                KvFormat::I8 => 8.0 / 127.0 / 2.0,
            };
            let tolerance = tolerance(form.inputs) + rounding;
            for token in 0..count {
                let at = (position + token) * 2 * width;
                assert_close(&cached[at..at + width], &twin.key[token * width..][..width], tolerance);
                assert_close(
                    &cached[at + width..at + 2 * width],
                    &twin.value[token * width..][..width],
                    tolerance,
                );
            }
        }
    }
}
