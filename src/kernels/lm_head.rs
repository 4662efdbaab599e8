//! Final norm and LM head.

use super::{Form, Matrix, Style, matrix::rms_norm, tiles};
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct LmHead {
    kernel: Kernel,
    workgroups: u32,
    tile: usize,
}

impl LmHead {
    /// For x with room for `[tokens, hidden]`.
    pub fn new(gpu: &Gpu, [tokens, hidden, vocab]: [usize; 3], eps: f32, form: Form) -> LmHead {
        let rows = match form.style {
            Style::Workgroup => 64,
            // Of one thread, which pays for its inputs once a block.
            Style::Thread => 128 * form.lanes(),
        };
        let constants = [
            ("TOKENS", tokens.into()),
            ("ROWS", rows.into()),
            ("HIDDEN", hidden.into()),
            ("VOCAB", vocab.into()),
            ("EPS", eps.into()),
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
            include_str!("../../shaders/lm_head.wgsl"),
            include_str!("../../shaders/thread/lm_head.wgsl"),
        );
        let blocks = vocab.div_ceil(rows);
        LmHead {
            kernel: Kernel::new(gpu, "lm_head", source, &constants, &bindings),
            workgroups: form.workgroups(blocks, blocks),
            tile: form.tile,
        }
    }

    pub fn bind(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        head: [&wgpu::Buffer; 2],
        norm: &wgpu::Buffer,
        x: &wgpu::Buffer,
        logits: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.kernel.bind(
            gpu,
            &[step, head[0], head[1], norm, x, logits].map(wgpu::Buffer::as_entire_binding),
        )
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, rows: usize) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [self.workgroups, tiles(rows, self.tile), 1].into(),
        }
    }
}

/// The twin: x `[rows, hidden]` -> logits `[rows, vocab]`.
pub fn lm_head(config: &ModelConfig, head: &Matrix, norm: &[f32], x: &[f32]) -> Vec<f32> {
    head.linear(&rms_norm(x, norm, config.rms_norm_eps), config.vocab_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Step, testing::*};

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(9);
        let forms = forms(&gpu);
        for case in 0..2 * forms.len() {
            let form = forms[case / 2];
            let config = ModelConfig {
                vocab_size: random.usize(40..700),
                ..config_of(&mut random, case % 2 == 0)
            };
            let hidden = config.hidden_size;
            let count = random.usize(1..10);
            let head_row = random.usize(..count);
            let rows = count - head_row;
            let head = int4(&mut random, config.vocab_size, hidden);
            let norm = floats(&mut random, hidden, 1.0)
                .iter()
                .map(|x| half::bf16::from_f32(1.0 + x))
                .collect::<Vec<_>>();
            let x = floats(&mut random, (count + form.tile) * hidden, 2.0);
            let logits = gpu.storage("logits", (rows * config.vocab_size * 4) as u64);
            let step = Step {
                position: 3,
                count: count as u32,
                head_row: head_row as u32,
                head_rows: rows as u32,
            };
            let kernel = LmHead::new(&gpu, [count, hidden, config.vocab_size], config.rms_norm_eps, form);
            let buffers = head.upload(&gpu);
            let bind_group = kernel.bind(
                &gpu,
                &gpu.upload("step", &[step]),
                [&buffers[0], &buffers[1]],
                &gpu.upload("norm", &norm),
                &gpu.upload("x", &x),
                &logits,
            );
            run(&gpu, kernel.dispatch(&bind_group, rows));
            let norm: Vec<f32> = norm.iter().map(|norm| norm.to_f32()).collect();
            let twin = lm_head(
                &config,
                &head.matrix().with_inputs(form.inputs),
                &norm,
                &x[head_row * hidden..count * hidden],
            );
            assert_close(&read(&gpu, &logits), &twin, tolerance(form.inputs));
        }
    }
}
