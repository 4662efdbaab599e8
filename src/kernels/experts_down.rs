//! x += the chosen experts' down projections, weighted, plus the shared expert's.

use super::{Block, Choice, LayerShape, LayerTensors, experts_up::chosen, routed_down::routed_down, tiles};
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct ExpertsDown {
    kernel: Kernel,
    workgroups: u32,
    tile: usize,
}

impl ExpertsDown {
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> ExpertsDown {
        let LayerShape {
            config,
            layer,
            layout,
            form,
            tokens,
            ..
        } = *shape;
        let swiglu = layer.swiglu();
        let block = Block {
            rows: 32,
            inputs: config.shared_size,
        };
        let blocks = form.blocks_in_prefill(config.hidden_size / 32, block, 5120);
        let constants = [
            ("LAYER_WORDS", layout.words().into()),
            ("TOKENS", tokens.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("BLOCKS", blocks.into()),
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
        let constants = [form.constants(gpu).as_slice(), &constants].concat();
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
        ];
        let source = form.style.source(
            include_str!("../../shaders/experts_down.wgsl"),
            include_str!("../../shaders/thread/experts_down.wgsl"),
        );
        let kernel = Kernel::new(gpu, "experts_down", source, &constants, &bindings);
        ExpertsDown {
            kernel,
            workgroups: form.workgroups(config.hidden_size / 32, config.hidden_size / 32 / blocks),
            tile: form.tile,
        }
    }

    #[allow(clippy::too_many_arguments)] // one a binding
    pub fn bind<'a>(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        layer: &wgpu::Buffer,
        routed: &wgpu::Buffer,
        activation: &wgpu::Buffer,
        choices: wgpu::BindingResource<'a>,
        x: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let [step, layer, routed, activation, x] =
            [step, layer, routed, activation, x].map(wgpu::Buffer::as_entire_binding);
        self.kernel
            .bind(gpu, &[step, layer.clone(), layer, routed, activation, choices, x])
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [self.workgroups, tiles(count, self.tile), 1].into(),
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
    let routed = routed_down(config, tensors, activations, choices, tokens);

    let of_shared: Vec<f32> = activations
        .chunks_exact(width)
        .flat_map(|token| &token[chosen * expert_size..])
        .copied()
        .collect();
    for (x, shared) in x.iter_mut().zip(tensors.shared_down.linear(&of_shared, hidden)) {
        *x += shared;
    }
    for (entry, (choice, output)) in choices.iter().zip(routed.chunks_exact(hidden)).enumerate() {
        for (x, output) in x[entry / chosen * hidden..].iter_mut().zip(output) {
            *x += choice.weight * output;
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
        let forms = forms(&gpu);
        for case in 0..2 * forms.len() {
            let config = config_of(&mut random, case % 2 == 0);
            let layer = LayerConfig {
                rope: true,
                moe: random.u8(..4) != 0,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let count = random.usize(1..10);
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
            let mut x = floats(&mut random, count * config.hidden_size, 1.0);
            let x_buffer = gpu.upload("x", &x);
            let kernel = ExpertsDown::new(&gpu, &shape);
            // In prefill another kernel has computed the routed experts' part: here its twin.
            let tensors = data.tensors(&config, layer, shape.form.inputs);
            let routed = routed_down(&config, &tensors, &activations, &choices, count);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, 5, count),
                &data.upload_for(shape.form.style, &gpu, &config),
                &gpu.upload("routed", &routed),
                &gpu.upload("activation", &activations),
                gpu.upload("choices", &choices).as_entire_binding(),
                &x_buffer,
            );
            run(&gpu, kernel.dispatch(&bind_group, count));
            experts_down(&config, &tensors, &activations, &choices, &mut x);
            assert_close(&read(&gpu, &x_buffer), &x, tolerance(shape.form.inputs));
        }
    }
}
