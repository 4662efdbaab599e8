//! Prefill: the chosen experts' down projections, a tile of entries at a time. [`super::experts_down`] adds them up.

use super::{Block, Choice, EMPTY_SLOT, LayerShape, LayerTensors, experts_up::chosen, group::Tiles};
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel, Workgroups},
};

pub struct RoutedDown(Kernel);

impl RoutedDown {
    /// For a layer with routed experts.
    pub fn new(gpu: &Gpu, shape: &LayerShape, of: Tiles) -> RoutedDown {
        let LayerShape {
            config,
            layer,
            layout,
            form,
            tokens,
            ..
        } = of.shape(shape);
        let constants = [
            ("LAYER_WORDS", layout.words().into()),
            ("TOKENS", tokens.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("BLOCKS", Self::blocks(&of.shape(shape)).into()),
            ("FIRST_ENTRY", of.first_entry(config, tokens).into()),
            ("CHOSEN", chosen(config, layer).into()),
            ("EXPERT", config.expert_size.into()),
            ("SHARED", config.shared_size.into()),
            ("DOWN", layout.at("feed_forward.experts.down_qweight", 16).into()),
            ("DOWN_SCALE", layout.at("feed_forward.experts.down_scale", 2).into()),
        ];
        let constants = [form.constants(gpu).as_slice(), &constants].concat();
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
        ];
        let source = form.style.source(
            include_str!("../../shaders/routed_down.wgsl"),
            include_str!("../../shaders/thread/routed_down.wgsl"),
        );
        RoutedDown(Kernel::new(gpu, "routed_down", source, &constants, &bindings))
    }

    /// Workgroups for one tile of entries.
    pub(super) fn workgroups(shape: &LayerShape) -> u32 {
        let blocks = shape.config.hidden_size / 32;
        shape.form.workgroups(blocks, blocks / Self::blocks(shape))
    }

    fn blocks(shape: &LayerShape) -> usize {
        let LayerShape { config, form, .. } = *shape;
        let block = Block {
            rows: 32,
            inputs: config.expert_size,
        };
        form.blocks(config.hidden_size / 32, block, 5120)
    }

    pub fn bind<'a>(
        &self,
        gpu: &Gpu,
        layer: &wgpu::Buffer,
        order: &wgpu::Buffer,
        activation: &wgpu::Buffer,
        choices: wgpu::BindingResource<'a>,
        routed: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let [layer, order, activation, routed] =
            [layer, order, activation, routed].map(wgpu::Buffer::as_entire_binding);
        self.0
            .bind(gpu, &[layer.clone(), layer, order, activation, choices, routed])
    }

    /// `grid`: see [`Tiles::down_grid`].
    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, grid: Workgroups<'a>) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.0,
            bind_group,
            workgroups: grid,
        }
    }
}

/// The twin: each chosen expert's output, unweighted, `[tokens, chosen, hidden]`; zero where it is not on the GPU.
pub fn routed_down(
    config: &ModelConfig,
    tensors: &LayerTensors,
    activations: &[f32],
    choices: &[Choice],
    tokens: usize,
) -> Vec<f32> {
    let (hidden, expert_size) = (config.hidden_size, config.expert_size);
    let (chosen, width) = (choices.len() / tokens, activations.len() / tokens);
    let mut routed = vec![0.0; choices.len() * hidden];
    for (entry, (choice, output)) in choices.iter().zip(routed.chunks_exact_mut(hidden)).enumerate() {
        if let (Some(matrix), true) = (&tensors.down, choice.slot != EMPTY_SLOT) {
            let (token, k) = (entry / chosen, entry % chosen);
            let activation = &activations[token * width + k * expert_size..][..expert_size];
            matrix.accumulate(choice.slot as usize * expert_size, activation, output);
        }
    }
    routed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LayerConfig,
        kernels::{
            Form, Inputs, KvFormat,
            experts_up::activation_width,
            group::{GRIDS_BYTES, Group, order_len},
            testing::*,
        },
    };

    fn compute(
        gpu: &Gpu,
        shape: &LayerShape,
        data: &LayerData,
        activations: &[f32],
        choices: &[Choice],
        count: usize,
    ) -> Vec<f32> {
        let config = shape.config;
        let routed = gpu.storage("routed", (choices.len() * config.hidden_size * 4) as u64);
        let order = gpu.storage("order", 4 * order_len(config, count) as u64);
        let grids = gpu.grids("grids", GRIDS_BYTES);
        let choices_buffer = gpu.upload("choices", choices);
        let group = Group::new(gpu, shape);
        let step = step(gpu, 5, count);
        let group_bind = group.bind(gpu, &step, choices_buffer.as_entire_binding(), &order, &grids);
        run(gpu, group.dispatch(&group_bind));
        let kernels: Vec<_> = (Tiles::of(shape.form).iter())
            .map(|of| (of, RoutedDown::new(gpu, shape, *of)))
            .collect();
        let bind_group = kernels[0].1.bind(
            gpu,
            &data.upload_for(shape.form.style, gpu, config),
            &order,
            &gpu.upload("activation", activations),
            choices_buffer.as_entire_binding(),
            &routed,
        );
        for (of, kernel) in &kernels {
            run(gpu, kernel.dispatch(&bind_group, of.down_grid(&grids)));
        }
        read(gpu, &routed)
    }

    #[test]
    fn int8_is_exact_where_inputs_are() {
        let (gpu, mut random) = setup(13);
        let integers = |form: &Form| matches!(form.inputs, Inputs::Int8 | Inputs::Packed) && form.tile > 1;
        let forms: Vec<Form> = forms(&gpu).into_iter().filter(integers).collect();
        assert!(!forms.is_empty());
        let config = config(&mut random);
        let layer = LayerConfig {
            rope: true,
            moe: true,
            window: None,
        };
        let mut data = LayerData::new(&mut random, &config, layer);
        data.fill_scales("feed_forward.experts.down_scale", 1.0 / 128.0);
        let count = 11;
        let activations = exact_in_int8(&mut random, count * activation_width(&config, layer));
        let choices = random_choices(&mut random, &config, layer, count);
        let tensors = data.tensors(&config, layer, Inputs::F32);
        let twin = routed_down(&config, &tensors, &activations, &choices, count);
        for form in forms {
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                form,
                tokens: count,
            };
            assert_close(
                &compute(&gpu, &shape, &data, &activations, &choices, count),
                &twin,
                1e-5,
            );
        }
    }

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(12);
        let forms: Vec<Form> = forms(&gpu).into_iter().filter(|form| form.tile > 1).collect();
        for case in 0..2 * forms.len() {
            let config = config_of(&mut random, case % 2 == 0);
            let layer = LayerConfig {
                rope: true,
                moe: true,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let count = [random.usize(1..5), random.usize(9..41)][random.usize(..2)];
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                form: forms[case / 2],
                tokens: count,
            };
            let activations = floats(&mut random, count * activation_width(&config, layer), 1.0);
            let choices = random_choices(&mut random, &config, layer, count);
            let found = compute(&gpu, &shape, &data, &activations, &choices, count);
            let twin = routed_down(
                &config,
                &data.tensors(&config, layer, shape.form.inputs),
                &activations,
                &choices,
                count,
            );
            assert_close(&found, &twin, tolerance(shape.form.inputs));
        }
    }
}
