//! silu(gate h) * up h for the chosen experts, and for the shared expert beside them.

use super::{Block, Choice, EMPTY_SLOT, LayerShape, LayerTensors, silu, tiles};
use crate::{
    config::{LayerConfig, ModelConfig},
    gpu::{Access, Dispatch, Gpu, Kernel, Workgroups},
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

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
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
            form,
            tokens,
            ..
        } = *shape;
        let swiglu = layer.swiglu();
        let constants = [
            ("LAYER_WORDS", layout.words().into()),
            ("TOKENS", tokens.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("BLOCKS", Self::blocks(shape).into()),
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
            include_str!("../../shaders/experts_up.wgsl"),
            include_str!("../../shaders/thread/experts_up.wgsl"),
        );
        ExpertsUp {
            kernel: Kernel::new(gpu, "experts_up", source, &constants, &bindings),
            workgroups: Self::workgroups(shape),
            tile: form.tile,
        }
    }

    /// Workgroups for a tile of tokens and a tile of entries; with one token a tile, for the token and all its entries.
    pub(super) fn workgroups(shape: &LayerShape) -> u32 {
        let LayerShape { config, layer, .. } = *shape;
        let entries = if shape.form.tile == 1 {
            chosen(config, layer)
        } else {
            chosen(config, layer).min(1)
        };
        let blocks = (config.shared_size + entries * config.expert_size) / 32;
        shape.form.style.workgroups(blocks, blocks / Self::blocks(shape))
    }

    fn blocks(shape: &LayerShape) -> usize {
        let LayerShape {
            config, layer, form, ..
        } = *shape;
        let expert = if layer.moe { config.expert_size } else { 0 };
        // 32 rows of gate, 32 of up.
        let block = Block {
            rows: 64,
            inputs: config.hidden_size,
        };
        form.blocks(common_divisor(config.shared_size, expert) / 32, block, 320)
    }

    #[allow(clippy::too_many_arguments)] // one a binding
    pub fn bind<'a>(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        layer: &wgpu::Buffer,
        order: &wgpu::Buffer,
        h: &wgpu::Buffer,
        choices: wgpu::BindingResource<'a>,
        activation: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let [step, layer, order, h, activation] =
            [step, layer, order, h, activation].map(wgpu::Buffer::as_entire_binding);
        self.kernel
            .bind(gpu, &[step, layer.clone(), layer, order, h, choices, activation])
    }

    /// One token, or a dense layer. Else the tiles of entries are counted on the GPU: see [`Self::dispatch_grouped`].
    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        let workgroups = [self.workgroups, tiles(count, self.tile), 1].into();
        self.dispatch_grouped(bind_group, workgroups)
    }

    /// `grid`: see [`super::group::up_grid`].
    pub fn dispatch_grouped<'a>(&'a self, bind_group: &'a wgpu::BindGroup, grid: Workgroups<'a>) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: grid,
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
    use crate::kernels::{
        KvFormat,
        group::{GRIDS_BYTES, Group, order_len, up_grid},
        testing::*,
    };

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(7);
        for form in forms(&gpu) {
            let config = config(&mut random);
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
                form,
                tokens: count,
            };
            let h = floats(&mut random, count * config.hidden_size, 1.0);
            let choices = random_choices(&mut random, &config, layer, count);
            let activation = gpu.storage("activation", (count * activation_width(&config, layer) * 4) as u64);
            let kernel = ExpertsUp::new(&gpu, &shape);
            let step = step(&gpu, 5, count);
            let order = gpu.storage("order", 4 * order_len(&config, count) as u64);
            let choices_buffer = gpu.upload("choices", &choices);
            let bind_group = kernel.bind(
                &gpu,
                &step,
                &data.upload_for(form.style, &gpu, &config),
                &order,
                &gpu.upload("h", &h),
                choices_buffer.as_entire_binding(),
                &activation,
            );
            if layer.moe && shape.form.tile > 1 {
                let grids = gpu.grids("grids", GRIDS_BYTES);
                let group = Group::new(&gpu, &shape);
                let group_bind = group.bind(&gpu, &step, choices_buffer.as_entire_binding(), &order, &grids);
                run(&gpu, group.dispatch(&group_bind));
                run(&gpu, kernel.dispatch_grouped(&bind_group, up_grid(&grids)));
            } else {
                run(&gpu, kernel.dispatch(&bind_group, count));
            }
            let twin = experts_up(&config, &data.tensors(&config, layer, form.inputs), &h, &choices);
            assert_close(&read(&gpu, &activation), &twin, tolerance(form.inputs));
        }
    }
}
