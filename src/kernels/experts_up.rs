//! silu(gate h) * up h for the chosen experts, and for the shared expert beside them.

use super::{Choice, EMPTY_SLOT, LayerShape, LayerTensors, silu, tiles};
use crate::{
    config::{LayerConfig, ModelConfig},
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct ExpertsUp {
    kernel: Kernel,
    workgroups: u32,
    tile: usize,
}

/// Experts per token in this kind of layer: none in a dense one.
pub(crate) fn chosen(config: &ModelConfig, layer: LayerConfig) -> usize {
    if layer.moe { config.experts_per_token } else { 0 }
}

/// Activations of one token: the chosen experts' one after the other, then the shared expert's.
pub fn activation_width(config: &ModelConfig, layer: LayerConfig) -> usize {
    chosen(config, layer) * config.expert_size + config.shared_size
}

impl ExpertsUp {
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> ExpertsUp {
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
            ("GATE_UP", layout.at("feed_forward.experts.gate_up_qweight", 16).into()),
            (
                "GATE_UP_SCALE",
                layout.at("feed_forward.experts.gate_up_scale", 2).into(),
            ),
            (
                "SHARED_GATE",
                layout.at(&format!("{swiglu}.gate_proj.qweight"), 16).into(),
            ),
            (
                "SHARED_GATE_SCALE",
                layout.at(&format!("{swiglu}.gate_proj.weight_scale"), 2).into(),
            ),
            ("SHARED_UP", layout.at(&format!("{swiglu}.up_proj.qweight"), 16).into()),
            (
                "SHARED_UP_SCALE",
                layout.at(&format!("{swiglu}.up_proj.weight_scale"), 2).into(),
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
        let source = include_str!("../../shaders/experts_up.wgsl");
        let workgroups = (config.shared_size + chosen(config, layer) * config.expert_size) / 32;
        ExpertsUp {
            kernel: Kernel::new(gpu, "experts_up", source, &constants, &bindings),
            workgroups: workgroups as u32,
            tile,
        }
    }

    pub fn bind<'a>(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        layer: &wgpu::Buffer,
        h: &wgpu::Buffer,
        choices: wgpu::BindingResource<'a>,
        activation: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let [step, layer, h, activation] = [step, layer, h, activation].map(wgpu::Buffer::as_entire_binding);
        self.kernel
            .bind(gpu, &[step, layer.clone(), layer, h, choices, activation])
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [self.workgroups, tiles(count, self.tile), 1],
        }
    }
}

/// The twin: h `[tokens, hidden]` -> activations `[tokens, chosen * expert_size + shared_size]`. An expert that is not
/// resident is left at zero.
pub fn experts_up(config: &ModelConfig, tensors: &LayerTensors, h: &[f32], choices: &[Choice]) -> Vec<f32> {
    let (hidden, expert_size) = (config.hidden_size, config.expert_size);
    let tokens = h.len() / hidden;
    let chosen = choices.len() / tokens;
    let gate = tensors.shared_gate.linear(h, config.shared_size);
    let up = tensors.shared_up.linear(h, config.shared_size);

    let mut activations = Vec::new();
    for (token, h) in h.chunks_exact(hidden).enumerate() {
        for choice in &choices[token * chosen..][..chosen] {
            let mut gate_up = vec![0.0; 2 * expert_size];
            if let (Some(matrix), true) = (&tensors.gate_up, choice.slot != EMPTY_SLOT) {
                matrix.accumulate(choice.slot as usize * hidden, h, &mut gate_up);
            }
            let (gate, up) = gate_up.split_at(expert_size);
            activations.extend(gate.iter().zip(up).map(|(gate, up)| silu(*gate) * up));
        }
        let shared = token * config.shared_size..(token + 1) * config.shared_size;
        activations.extend(
            gate[shared.clone()]
                .iter()
                .zip(&up[shared])
                .map(|(gate, up)| silu(*gate) * up),
        );
    }
    activations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{KvFormat, testing::*};

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(7);
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
            let h = floats(&mut random, count * config.hidden_size, 1.0);
            let choices = random_choices(&mut random, &config, layer, count);
            let activation = gpu.storage("activation", (count * activation_width(&config, layer) * 4) as u64);
            let kernel = ExpertsUp::new(&gpu, &shape);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, 5, count),
                &data.upload(&gpu),
                &gpu.upload("h", &h),
                gpu.upload("choices", &choices).as_entire_binding(),
                &activation,
            );
            run(&gpu, kernel.dispatch(&bind_group, count));
            let twin = experts_up(&config, &data.tensors(&config, layer), &h, &choices);
            assert_close(&read(&gpu, &activation), &twin, 1e-4);
        }
    }
}
