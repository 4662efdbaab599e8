//! x += the chosen experts' down projections, weighted, plus the shared expert's.

use super::{Choice, EMPTY_SLOT, LayerShape, LayerTensors, experts_up::chosen, tiles};
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct ExpertsDown {
    kernel: Kernel,
    hidden: usize,
    tile: usize,
}

impl ExpertsDown {
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> ExpertsDown {
        let LayerShape {
            config,
            layer,
            layout,
            tile,
            ..
        } = *shape;
        let swiglu = layer.swiglu();
        let constants = [
            ("TILE", tile.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("CHOSEN", chosen(config, layer).into()),
            ("EXPERT", config.expert_size.into()),
            ("SHARED", config.shared_size.into()),
            ("DOWN", layout.at("feed_forward.experts.down_qweight", 16).into()),
            ("DOWN_SCALE", layout.at("feed_forward.experts.down_scale", 2).into()),
            (
                "SHARED_DOWN",
                layout.at(&format!("{swiglu}.down_proj.qweight"), 16).into(),
            ),
            (
                "SHARED_DOWN_SCALE",
                layout.at(&format!("{swiglu}.down_proj.weight_scale"), 2).into(),
            ),
        ];
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
        ];
        let source = include_str!("../../shaders/experts_down.wgsl");
        let kernel = Kernel::new(gpu, "experts_down", source, &constants, &bindings);
        ExpertsDown {
            kernel,
            hidden: config.hidden_size,
            tile,
        }
    }

    pub fn bind<'a>(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        layer: &wgpu::Buffer,
        activation: &wgpu::Buffer,
        choices: wgpu::BindingResource<'a>,
        x: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let [step, layer, activation, x] = [step, layer, activation, x].map(wgpu::Buffer::as_entire_binding);
        self.kernel
            .bind(gpu, &[step, layer.clone(), layer, activation, choices, x])
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        let workgroups = [(self.hidden / 32) as u32, tiles(count, self.tile), 1];
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups,
        }
    }
}

/// The twin. `activations` as [`super::experts_up::experts_up`] gives them; adds to `x` `[tokens, hidden]`.
pub fn experts_down(
    config: &ModelConfig,
    tensors: &LayerTensors,
    activations: &[f32],
    choices: &[Choice],
    x: &mut [f32],
) {
    let (hidden, expert_size) = (config.hidden_size, config.expert_size);
    let tokens = x.len() / hidden;
    let (chosen, width) = (choices.len() / tokens, activations.len() / tokens);

    let of_shared: Vec<f32> = activations
        .chunks_exact(width)
        .flat_map(|token| &token[chosen * expert_size..])
        .copied()
        .collect();
    for (x, shared) in x.iter_mut().zip(tensors.shared_down.linear(&of_shared, hidden)) {
        *x += shared;
    }
    for (token, x) in x.chunks_exact_mut(hidden).enumerate() {
        for (k, choice) in choices[token * chosen..][..chosen].iter().enumerate() {
            if let (Some(matrix), true) = (&tensors.down, choice.slot != EMPTY_SLOT) {
                let activation = &activations[token * width + k * expert_size..][..expert_size];
                let mut output = vec![0.0; hidden];
                matrix.accumulate(choice.slot as usize * expert_size, activation, &mut output);
                for (x, output) in x.iter_mut().zip(output) {
                    *x += choice.weight * output;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::LayerConfig,
        kernels::{KvFormat, experts_up::activation_width, testing::*},
    };

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(8);
        for case in 0..12 {
            let config = config(&mut random);
            let layer = LayerConfig {
                rope: true,
                moe: case % 4 != 3,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let count = random.usize(1..10);
            let shape = LayerShape {
                config: &config,
                layer,
                layout: &data.layout,
                kv: KvFormat::F32,
                tile: [1, 4][case % 2],
            };
            let activations = floats(&mut random, count * activation_width(&config, layer), 1.0);
            let choices = random_choices(&mut random, &config, layer, count);
            let mut x = floats(&mut random, count * config.hidden_size, 1.0);
            let x_buffer = gpu.upload("x", &x);
            let kernel = ExpertsDown::new(&gpu, &shape);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, 5, count),
                &data.upload(&gpu),
                &gpu.upload("activation", &activations),
                gpu.upload("choices", &choices).as_entire_binding(),
                &x_buffer,
            );
            run(&gpu, kernel.dispatch(&bind_group, count));
            experts_down(&config, &data.tensors(&config, layer), &activations, &choices, &mut x);
            assert_close(&read(&gpu, &x_buffer), &x, 1e-4);
        }
    }
}
