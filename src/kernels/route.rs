//! RMSNorm, the FP32 router, and the choice of experts.

use super::{Choice, Form, LayerShape, LayerTensors, PREFILL_TILE, Style, dot, matrix::rms_norm, tiles};
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct Route {
    kernel: Kernel,
    /// Tokens a workgroup.
    tile: usize,
}

/// Scores take 8 bytes of workgroup memory for each token and expert. A device has 16 KiB, of which other things need little.
fn tile_with_room(tile: usize, experts: usize) -> usize {
    if 8 * tile * experts <= 15 * 1024 {
        tile
    } else {
        PREFILL_TILE
    }
}

impl Route {
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> Route {
        let LayerShape {
            config,
            layer,
            layout,
            form,
            tokens,
            ..
        } = *shape;
        let (experts, chosen) = if layer.moe {
            (config.experts, config.experts_per_token)
        } else {
            (0, 0)
        };
        let (tile, threads) = match form.style {
            Style::Workgroup => (1, 256),
            // Two quads.
            Style::Thread if form.subgroups => (tile_with_room(form.tile, experts), 8),
            // For eight experts each.
            Style::Thread => (form.tile, experts.div_ceil(8).next_multiple_of(4).clamp(8, 64)),
        };
        let form = Form { tile, ..form };
        let constants = [
            ("LAYER_WORDS", layout.words().into()),
            ("LANES_BY", form.lanes_by().into()),
            ("OWN", form.own().into()),
            ("TILE", tile.into()),
            ("THREADS", threads.into()),
            ("TOKENS", tokens.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("EXPERTS", experts.into()),
            ("CHOSEN", chosen.into()),
            ("EPS", config.rms_norm_eps.into()),
            ("SCALING", config.routed_scaling_factor.into()),
            ("NORM_TOPK", config.norm_topk_prob.into()),
            ("NORM", layout.at("post_attention_layernorm.weight", 4).into()),
            ("ROUTER", layout.at("feed_forward.router.weight", 16).into()),
            ("BIAS", layout.at("feed_forward.expert_bias", 4).into()),
        ];
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
            Access::ReadWrite,
            Access::ReadWrite,
        ];
        let source = form.style.source(
            include_str!("../../shaders/route.wgsl"),
            include_str!("../../shaders/thread/route.wgsl"),
        );
        Route {
            kernel: Kernel::new(gpu, "route", source, &constants, &bindings),
            tile,
        }
    }

    /// `page_table`: `[experts]` slots, then the layer's index; `choices` `[count, chosen]`; `fault`: one word.
    #[allow(clippy::too_many_arguments)] // one a binding
    pub fn bind<'a>(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        layer: &wgpu::Buffer,
        x: &wgpu::Buffer,
        page_table: wgpu::BindingResource<'a>,
        h: &wgpu::Buffer,
        choices: wgpu::BindingResource<'a>,
        fault: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let [step, layer, x, h, fault] = [step, layer, x, h, fault].map(wgpu::Buffer::as_entire_binding);
        self.kernel
            .bind(gpu, &[step, layer.clone(), layer, x, page_table, h, choices, fault])
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [tiles(count, self.tile), 1, 1].into(),
        }
    }
}

/// The twin: h `[tokens, hidden]` and the choices `[tokens, chosen]`, none in a dense layer. Every expert is resident
/// here: its slot is its number.
pub fn route(config: &ModelConfig, tensors: &LayerTensors, x: &[f32]) -> (Vec<f32>, Vec<Choice>) {
    let hidden = config.hidden_size;
    let h = rms_norm(x, &tensors.post_attention_norm, config.rms_norm_eps);
    let mut choices = Vec::new();
    if let Some(router) = &tensors.router {
        for h in h.chunks_exact(hidden) {
            let logits = router.weight.chunks_exact(hidden).map(|row| dot(row, h));
            let scores: Vec<f32> = logits.map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
            let biased: Vec<f32> = scores
                .iter()
                .zip(&router.bias)
                .map(|(score, bias)| score + bias)
                .collect();
            let mut order: Vec<usize> = (0..config.experts).collect();
            order.sort_by(|a, b| biased[*b].total_cmp(&biased[*a])); // stable: ties to the lower index
            let chosen = &order[..config.experts_per_token];

            let sum: f32 = chosen.iter().map(|expert| scores[*expert]).sum();
            choices.extend(chosen.iter().map(|&expert| {
                let share = if config.norm_topk_prob {
                    scores[expert] / (sum + 1e-20)
                } else {
                    scores[expert]
                };
                let weight = share * config.routed_scaling_factor;
                Choice {
                    expert: expert as u32,
                    slot: expert as u32,
                    weight,
                    score: biased[expert],
                }
            }));
        }
    }
    (h, choices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LayerConfig,
        kernels::{EMPTY_SLOT, Inputs, KvFormat, testing::*},
    };

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(5);
        let forms = forms(&gpu);
        for case in 0..4 * forms.len() {
            let form = forms[case / 4];
            let config = config_of(&mut random, case % 2 == 0);
            let layer = LayerConfig {
                rope: true,
                moe: random.u8(..4) != 0,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let count = if form.tile == 1 { 1 } else { random.usize(1..10) };
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                form,
                tokens: count,
            };
            let x = floats(&mut random, count * config.hidden_size, 2.0);
            // A permuted table, with one expert missing; then the layer's index.
            let mut page_table: Vec<u32> = (0..config.experts as u32).collect();
            random.shuffle(&mut page_table);
            let missing = random.usize(..config.experts);
            page_table[missing] = EMPTY_SLOT;
            page_table.push(7);

            let h = gpu.storage("h", (x.len() * 4) as u64);
            let choices = gpu.storage("choices", (count * config.experts_per_token * 16) as u64);
            let fault = gpu.storage("fault", 4);
            let kernel = Route::new(&gpu, &shape);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, 5, count),
                &data.upload(&gpu),
                &gpu.upload("x", &x),
                gpu.upload("page table", &page_table).as_entire_binding(),
                &h,
                choices.as_entire_binding(),
                &fault,
            );
            run(&gpu, kernel.dispatch(&bind_group, count));

            let (twin_h, twin_choices) = route(&config, &data.tensors(&config, layer, Inputs::F32), &x);
            assert_close(&read(&gpu, &h), &twin_h, 1e-5);
            let choices: Vec<Choice> = read(&gpu, &choices);
            for (chosen, twin) in choices.iter().zip(&twin_choices) {
                assert_eq!(chosen.expert, twin.expert);
                assert_eq!(chosen.slot, page_table[twin.expert as usize]);
                assert_close(&[chosen.weight, chosen.score], &[twin.weight, twin.score], 1e-5);
            }
            let faulted = twin_choices.iter().any(|choice| choice.expert as usize == missing);
            let expected = if faulted {
                1 + 7 * config.experts as u32 + missing as u32
            } else {
                0
            };
            assert_eq!(read::<u32>(&gpu, &fault)[0], expected);
        }
    }

    /// As many experts as a model may have: that kernels are made checks their workgroup memory.
    #[test]
    fn many_experts_have_room() {
        let (gpu, mut random) = setup(8);
        let mut config = config(&mut random);
        config.experts = 256;
        let layer = LayerConfig {
            rope: true,
            moe: true,
            window: None,
        };
        let data = LayerData::new(&mut random, &config, layer);
        for form in forms(&gpu).into_iter().filter(|form| form.style == Style::Thread) {
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                form,
                tokens: 8,
            };
            Route::new(&gpu, &shape);
            gpu.check().unwrap();
        }
    }

    #[test]
    fn ties_go_to_the_lower_expert() {
        let (_, mut random) = setup(6);
        let config = config(&mut random);
        let layer = LayerConfig {
            rope: true,
            moe: true,
            window: None,
        };
        let data = LayerData::new(&mut random, &config, layer);
        let mut tensors = data.tensors(&config, layer, Inputs::F32);
        let router = tensors.router.as_mut().unwrap();
        router.weight.fill(0.0);
        router.bias.fill(0.25);
        let (_, choices) = route(&config, &tensors, &floats(&mut random, config.hidden_size, 1.0));
        let experts: Vec<u32> = choices.iter().map(|choice| choice.expert).collect();
        assert_eq!(experts, (0..config.experts_per_token as u32).collect::<Vec<_>>());
    }
}
