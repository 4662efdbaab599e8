//! log softmax(logits)[target]: what scoring needs of a position.

use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct Logprob(Kernel);

/// One scored position, as the kernel writes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Scored {
    /// Natural logarithm of the target's probability.
    pub logprob: f32,
    /// The most likely token, ties to the lower id.
    pub largest: u32,
}

impl Logprob {
    pub fn new(gpu: &Gpu, config: &ModelConfig) -> Logprob {
        let constants = [("VOCAB", config.vocab_size.into())];
        let bindings = [Access::Read, Access::Read, Access::ReadWrite];
        Logprob(Kernel::new(
            gpu,
            "logprob",
            include_str!("../../shaders/logprob.wgsl"),
            &constants,
            &bindings,
        ))
    }

    pub fn bind(
        &self,
        gpu: &Gpu,
        logits: &wgpu::Buffer,
        targets: &wgpu::Buffer,
        scored: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.0
            .bind(gpu, &[logits, targets, scored].map(wgpu::Buffer::as_entire_binding))
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, rows: usize) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.0,
            bind_group,
            workgroups: [rows as u32, 1, 1],
        }
    }
}

/// The twin, for one row of logits.
pub fn logprob(logits: &[f32], target: u32) -> Scored {
    let mut largest = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[largest] {
            largest = id;
        }
    }
    let total: f32 = logits.iter().map(|logit| (logit - logits[largest]).exp()).sum();
    Scored {
        logprob: logits[target as usize] - logits[largest] - total.ln(),
        largest: largest as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::*;

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(10);
        for vocab in [40, 512, 3001] {
            let config = ModelConfig {
                vocab_size: vocab,
                ..config(&mut random)
            };
            let rows = 5;
            let logits = floats(&mut random, rows * vocab, 6.0);
            let targets: Vec<u32> = (0..rows).map(|_| random.u32(..vocab as u32)).collect();
            let scored = gpu.storage("scored", (rows * 8) as u64);
            let kernel = Logprob::new(&gpu, &config);
            let bind_group = kernel.bind(
                &gpu,
                &gpu.upload("logits", &logits),
                &gpu.upload("targets", &targets),
                &scored,
            );
            run(&gpu, kernel.dispatch(&bind_group, rows));
            for (row, scored) in read::<Scored>(&gpu, &scored)[..rows].iter().enumerate() {
                let twin = logprob(&logits[row * vocab..][..vocab], targets[row]);
                assert_eq!(scored.largest, twin.largest);
                assert_close(&[scored.logprob], &[twin.logprob], 1e-4);
            }
        }
    }
}
