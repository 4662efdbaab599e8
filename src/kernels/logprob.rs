//! log softmax(logits) at a target and at the likeliest tokens: what scoring a position needs, and reporting a choice.

use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct Logprob(Kernel);

/// A token and its probability, as the kernel writes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Scored {
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

impl Logprob {
    /// `top`: how many of the likeliest tokens are written after each row's target.
    pub fn new(gpu: &Gpu, config: &ModelConfig, top: usize) -> Logprob {
        let constants = [("VOCAB", config.vocab_size.into()), ("TOP", top.into())];
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
            workgroups: [rows as u32, 1, 1].into(),
        }
    }
}

/// The twin, for one row of logits: the target, then the `top` likeliest.
pub fn logprob(logits: &[f32], target: u32, top: usize) -> Vec<Scored> {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize])); // stable: ties by id
    let largest = logits[order[0] as usize];
    let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let scored = |id: u32| Scored {
        id,
        logprob: logits[id as usize] - largest - total.ln(),
    };
    [target]
        .into_iter()
        .chain(order.into_iter().take(top))
        .map(scored)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::*;

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(10);
        for (vocab, top) in [(40, 1), (512, 1), (3001, 1), (40, 20), (512, 5), (3001, 20)] {
            let config = ModelConfig {
                vocab_size: vocab,
                ..config(&mut random)
            };
            let rows = 5;
            let mut logits = floats(&mut random, rows * vocab, 6.0);
            // Equal ones among the largest: the lower id comes first.
            for id in [3, 17, 38] {
                logits[vocab + id] = 7.0;
            }
            let targets: Vec<u32> = (0..rows).map(|_| random.u32(..vocab as u32)).collect();
            let scored = gpu.storage("scored", (rows * (1 + top) * size_of::<Scored>()) as u64);
            let kernel = Logprob::new(&gpu, &config, top);
            let bind_group = kernel.bind(
                &gpu,
                &gpu.upload("logits", &logits),
                &gpu.upload("targets", &targets),
                &scored,
            );
            run(&gpu, kernel.dispatch(&bind_group, rows));
            let scored = read::<Scored>(&gpu, &scored);
            for (row, scored) in scored.chunks(1 + top).take(rows).enumerate() {
                let twin = logprob(&logits[row * vocab..][..vocab], targets[row], top);
                let ids = |scored: &[Scored]| scored.iter().map(|scored| scored.id).collect::<Vec<_>>();
                assert_eq!(ids(scored), ids(&twin));
                let logprobs = |scored: &[Scored]| scored.iter().map(|scored| scored.logprob).collect::<Vec<_>>();
                assert_close(&logprobs(scored), &logprobs(&twin), 1e-4);
            }
        }
    }

    #[test]
    fn a_small_vocabulary_runs_out() {
        let (gpu, mut random) = setup(14);
        let config = ModelConfig {
            vocab_size: 3,
            ..config(&mut random)
        };
        let scored = gpu.storage("scored", 6 * size_of::<Scored>() as u64);
        let kernel = Logprob::new(&gpu, &config, 5);
        let bind_group = kernel.bind(
            &gpu,
            &gpu.upload("logits", &[1.0f32, 3.0, 2.0]),
            &gpu.upload("targets", &[2u32]),
            &scored,
        );
        run(&gpu, kernel.dispatch(&bind_group, 1));
        let ids: Vec<u32> = read::<Scored>(&gpu, &scored).iter().map(|scored| scored.id).collect();
        assert_eq!(ids, [2, 1, 2, 0, 3, 3]);
    }
}
