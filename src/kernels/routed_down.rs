//! Prefill: the chosen experts' down projections, a tile of entries at a time. [`super::experts_down`] adds them up.

use super::{Choice, EMPTY_SLOT, LayerShape, LayerTensors, Style, experts_up::chosen};
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel, Workgroups},
};

pub struct RoutedDown(Kernel);

impl RoutedDown {
    /// For a layer with routed experts.
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> RoutedDown {
        let LayerShape {
            config,
            layer,
            layout,
            form,
            tokens,
            ..
        } = *shape;
        let constants = [
            ("LAYER_WORDS", layout.words().into()),
            ("SMALL_WORKGROUP", Style::SMALL_WORKGROUP.into()),
            ("TILE", form.tile.into()),
            ("TOKENS", tokens.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("CHOSEN", chosen(config, layer).into()),
            ("EXPERT", config.expert_size.into()),
            ("SHARED", config.shared_size.into()),
            ("DOWN", layout.at("feed_forward.experts.down_qweight", 16).into()),
            ("DOWN_SCALE", layout.at("feed_forward.experts.down_scale", 2).into()),
        ];
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
        shape.form.style.workgroups(blocks, blocks)
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

    /// `grid`: see [`super::group::down_grid`].
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
            Form, KvFormat,
            experts_up::activation_width,
            group::{GRIDS_BYTES, Group, down_grid, order_len},
            testing::*,
        },
    };

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(12);
        let forms: Vec<Form> = forms(&gpu).into_iter().filter(|form| form.tile > 1).collect();
        for case in 0..4 * forms.len() {
            let config = config(&mut random);
            let layer = LayerConfig {
                rope: true,
                moe: true,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let count = [1, 3, 10, 40][case % 4];
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                form: forms[case / 4],
                tokens: count,
            };
            let activations = floats(&mut random, count * activation_width(&config, layer), 1.0);
            let choices = random_choices(&mut random, &config, layer, count);
            let routed = gpu.storage("routed", (choices.len() * config.hidden_size * 4) as u64);
            let order = gpu.storage("order", 4 * order_len(&config, count) as u64);
            let grids = gpu.grids("grids", GRIDS_BYTES);
            let choices_buffer = gpu.upload("choices", &choices);
            let group = Group::new(&gpu, &shape);
            let group_bind = group.bind(
                &gpu,
                &step(&gpu, 5, count),
                choices_buffer.as_entire_binding(),
                &order,
                &grids,
            );
            run(&gpu, group.dispatch(&group_bind));
            let kernel = RoutedDown::new(&gpu, &shape);
            let bind_group = kernel.bind(
                &gpu,
                &data.upload(&gpu),
                &order,
                &gpu.upload("activation", &activations),
                choices_buffer.as_entire_binding(),
                &routed,
            );
            run(&gpu, kernel.dispatch(&bind_group, down_grid(&grids)));
            let twin = routed_down(&config, &data.tensors(&config, layer), &activations, &choices, count);
            assert_close(&read(&gpu, &routed), &twin, 1e-4);
        }
    }
}
