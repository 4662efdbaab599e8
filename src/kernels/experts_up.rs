//! silu(gate h) * up h for the chosen experts, and for the shared expert beside them.

use super::{Block, Choice, EMPTY_SLOT, LayerShape, LayerTensors, group::Tiles, silu, tiles};
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
    /// The shared expert, and in decoding beside it those that the token chose.
    pub fn new(gpu: &Gpu, shape: &LayerShape) -> ExpertsUp {
        let LayerShape {
            config, layer, form, ..
        } = *shape;
        let with_routed = form.tile == 1 && layer.moe;
        let expert = if with_routed { config.expert_size } else { 0 };
        ExpertsUp::of_rows(gpu, shape, [config.shared_size, expert], 0)
    }

    /// Routed experts in prefill, for these tiles of entries.
    pub fn routed(gpu: &Gpu, shape: &LayerShape, of: Tiles) -> ExpertsUp {
        let first_entry = of.first_entry(shape.config, shape.tokens);
        ExpertsUp::of_rows(gpu, &of.shape(shape), [0, shape.config.expert_size], first_entry)
    }

    /// So many rows of the shared expert and of a routed one.
    fn of_rows(gpu: &Gpu, shape: &LayerShape, [shared, expert]: [usize; 2], first_entry: usize) -> ExpertsUp {
        let LayerShape {
            config,
            layer,
            layout,
            form,
            tokens,
            ..
        } = *shape;
        let chosen = chosen(config, layer);
        let blocks = Self::blocks(shape, [shared, expert]);
        let side_by_side = if form.tile == 1 { chosen } else { 1 };
        let all_blocks = (shared + side_by_side * expert) / 32;
        let swiglu = layer.swiglu();
        let constants = [
            ("LAYER_WORDS", layout.words().into()),
            ("TOKENS", tokens.into()),
            ("HIDDEN", config.hidden_size.into()),
            ("BLOCKS", blocks.into()),
            ("SHARED_BLOCKS", (shared / 32 / blocks).into()),
            ("ROUTED_BLOCKS", (expert / 32 / blocks).into()),
            ("FIRST_ENTRY", first_entry.into()),
            ("CHOSEN", chosen.into()),
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
            workgroups: form.workgroups(all_blocks, all_blocks / blocks),
            tile: form.tile,
        }
    }

    /// Workgroups of [`ExpertsUp::routed`] for one tile of entries.
    pub(super) fn routed_workgroups(shape: &LayerShape) -> u32 {
        let expert = shape.config.expert_size;
        (shape.form).workgroups(expert / 32, expert / 32 / Self::blocks(shape, [0, expert]))
    }

    fn blocks(shape: &LayerShape, [shared, expert]: [usize; 2]) -> usize {
        // 32 rows of gate, 32 of up.
        let block = Block {
            rows: 64,
            inputs: shape.config.hidden_size,
        };
        (shape.form).blocks(common_divisor(shared, expert) / 32, block, 5120)
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

    /// Of what [`ExpertsUp::new`] made.
    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        let workgroups = [self.workgroups, tiles(count, self.tile), 1].into();
        self.dispatch_grid(bind_group, workgroups)
    }

    /// Of what [`ExpertsUp::routed`] made: its tiles were counted on the GPU. `grid`: see [`Tiles::up_grid`].
    pub fn dispatch_grid<'a>(&'a self, bind_group: &'a wgpu::BindGroup, grid: Workgroups<'a>) -> Dispatch<'a> {
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
        group::{GRIDS_BYTES, Group, order_len},
        testing::*,
    };

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(7);
        let forms = forms(&gpu);
        for case in 0..2 * forms.len() {
            let form = forms[case / 2];
            let config = config_of(&mut random, case % 2 == 0);
            let layer = LayerConfig {
                rope: true,
                moe: random.u8(..4) != 0,
                window: None,
            };
            let data = LayerData::new(&mut random, &config, layer);
            let count = [random.usize(1..10), random.usize(10..40)][random.usize(..2)]; // more of one expert than fit in a tile, too
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
            run(&gpu, kernel.dispatch(&bind_group, count));
            if layer.moe && form.tile > 1 {
                let grids = gpu.grids("grids", GRIDS_BYTES);
                let group = Group::new(&gpu, &shape);
                let group_bind = group.bind(&gpu, &step, choices_buffer.as_entire_binding(), &order, &grids);
                run(&gpu, group.dispatch(&group_bind));
                for of in Tiles::of(form) {
                    let routed = ExpertsUp::routed(&gpu, &shape, *of);
                    run(&gpu, routed.dispatch_grid(&bind_group, of.up_grid(&grids)));
                }
            }
            let twin = experts_up(&config, &data.tensors(&config, layer, form.inputs), &h, &choices);
            assert_close(&read(&gpu, &activation), &twin, tolerance(form.inputs));
        }
    }
}
