//! The logits that a token is chosen from: penalties, bias and mask.

use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct Adjust {
    kernel: Kernel,
    vocab: usize,
}

/// How logits are moved before a token is chosen, as the kernel reads it. The defaults move nothing.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Adjustment {
    /// Divides the positive logits, and multiplies the others, of tokens that are in the prompt or the answer; 1: off.
    pub repetition: f32,
    /// Taken off once for each time a token is in the answer; 0: off.
    pub frequency: f32,
    /// Taken off once if a token is in the answer; 0: off.
    pub presence: f32,
    /// 1 if the pass was fed a token of the answer: the kernel counts it. 0 after the prompt.
    pub input_is_answer: u32,
}

impl Default for Adjustment {
    fn default() -> Self {
        Adjustment {
            repetition: 1.0,
            frequency: 0.0,
            presence: 0.0,
            input_is_answer: 0,
        }
    }
}

/// What a forbidden token's logit becomes; sampling never keeps it.
pub const FORBIDDEN: f32 = -1e30;

impl Adjust {
    pub fn new(gpu: &Gpu, config: &ModelConfig) -> Adjust {
        let constants = [("VOCAB", config.vocab_size.into())];
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
            Access::ReadWrite,
        ];
        let source = include_str!("../../shaders/adjust.wgsl");
        Adjust {
            kernel: Kernel::new(gpu, "adjust", source, &constants, &bindings),
            vocab: config.vocab_size,
        }
    }

    #[allow(clippy::too_many_arguments)] // one a binding
    pub fn bind(
        &self,
        gpu: &Gpu,
        logits: &wgpu::Buffer,
        adjustment: &wgpu::Buffer,
        tokens: &wgpu::Buffer,
        bias: &wgpu::Buffer,
        mask: &wgpu::Buffer,
        said: &wgpu::Buffer,
        adjusted: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.kernel.bind(
            gpu,
            &[logits, adjustment, tokens, bias, mask, said, adjusted].map(wgpu::Buffer::as_entire_binding),
        )
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.kernel,
            bind_group,
            workgroups: [self.vocab.div_ceil(256) as u32, 1, 1].into(),
        }
    }
}

/// The twin: `[vocab]`. `mask` has a bit for each token; `said` is 2 * times in the answer + 1 if in the prompt.
pub fn adjust(
    logits: &[f32],
    adjustment: &Adjustment,
    input: u32,
    bias: &[f32],
    mask: &[u32],
    said: &mut [u32],
) -> Vec<f32> {
    if adjustment.input_is_answer == 1 {
        said[input as usize] += 2;
    }
    let adjust = |(id, logit): (usize, &f32)| {
        if mask[id / 32] >> (id % 32) & 1 == 0 {
            return FORBIDDEN;
        }
        let times = said[id] / 2;
        let penalized = match said[id] {
            0 => *logit,
            _ if *logit > 0.0 => logit / adjustment.repetition,
            _ => logit * adjustment.repetition,
        };
        let present = if times > 0 { adjustment.presence } else { 0.0 };
        penalized - adjustment.frequency * times as f32 - present + bias[id]
    };
    logits.iter().enumerate().map(adjust).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::*;

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(13);
        for case in 0..12 {
            let vocab = [31, 512, 1500][case % 3];
            let config = ModelConfig {
                vocab_size: vocab,
                ..config(&mut random)
            };
            let logits = floats(&mut random, vocab, 8.0);
            let bias = floats(&mut random, vocab, 3.0);
            let mask: Vec<u32> = (0..vocab.div_ceil(32)).map(|_| random.u32(..)).collect();
            let mut said: Vec<u32> = (0..vocab).map(|_| random.u32(..9) * random.u32(..2)).collect();
            let input = random.u32(..vocab as u32);
            let adjustment = Adjustment {
                repetition: [1.0, 1.3][random.usize(..2)],
                frequency: [0.0, 0.5][random.usize(..2)],
                presence: [0.0, -0.7][random.usize(..2)],
                input_is_answer: random.u32(..2),
            };
            let on_gpu = gpu.upload("said", &said);
            let adjusted = gpu.storage("adjusted", (vocab * 4) as u64);
            let kernel = Adjust::new(&gpu, &config);
            let bind_group = kernel.bind(
                &gpu,
                &gpu.upload("logits", &logits),
                &gpu.upload("adjustment", &[adjustment]),
                &gpu.upload("tokens", &[input]),
                &gpu.upload("bias", &bias),
                &gpu.upload("mask", &mask),
                &on_gpu,
                &adjusted,
            );
            run(&gpu, kernel.dispatch(&bind_group));
            let twin = adjust(&logits, &adjustment, input, &bias, &mask, &mut said);
            assert_close(&read(&gpu, &adjusted), &twin, 1e-5);
            assert_eq!(read::<u32>(&gpu, &on_gpu)[..vocab], said[..]);
            assert!(twin.contains(&FORBIDDEN) && twin.iter().any(|logit| *logit != FORBIDDEN));
        }
    }
}
