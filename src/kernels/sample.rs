//! The next token: greedy, or drawn at a temperature under top-k, top-p and min-p.

use super::adjust::FORBIDDEN;
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct Sample(Kernel);

/// How the next token is chosen, as the kernel reads it. The defaults are greedy decoding.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Sampling {
    /// 0: always the most likely token.
    pub temperature: f32,
    /// Keep the k most likely tokens; 0: all.
    pub top_k: u32,
    /// Keep the smallest set of most likely tokens whose probability reaches this; 1: all.
    pub top_p: f32,
    /// Keep tokens at least this probable relative to the most likely one; 0: all.
    pub min_p: f32,
    /// With the position, decides every draw.
    pub seed: [u32; 2],
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: [0, 0],
        }
    }
}

/// What the host reads after each step.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Chosen {
    pub id: u32,
    /// 0, or 1 + layer * experts + expert: that expert was chosen but is not on the GPU.
    pub fault: u32,
}

impl Sample {
    pub fn new(gpu: &Gpu, config: &ModelConfig) -> Sample {
        let constants = [("VOCAB", config.vocab_size.into())];
        let bindings = [
            Access::ReadWrite,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
            Access::ReadWrite,
        ];
        Sample(Kernel::new(
            gpu,
            "sample",
            include_str!("../../shaders/sample.wgsl"),
            &constants,
            &bindings,
        ))
    }

    #[allow(clippy::too_many_arguments)] // one a binding
    pub fn bind(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        logits: &wgpu::Buffer,
        sampling: &wgpu::Buffer,
        fault: &wgpu::Buffer,
        tokens: &wgpu::Buffer,
        chosen: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.0.bind(
            gpu,
            &[step, logits, sampling, fault, tokens, chosen].map(wgpu::Buffer::as_entire_binding),
        )
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.0,
            bind_group,
            workgroups: [1, 1, 1].into(),
        }
    }
}

/// The twin. `position` is that of the token being chosen.
pub fn sample(logits: &[f32], sampling: &Sampling, position: u32) -> u32 {
    let mut largest = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[largest] {
            largest = id;
        }
    }
    if sampling.temperature == 0.0 {
        return largest as u32;
    }
    let kept = kept(logits, sampling);
    let masses = masses(logits, sampling.temperature);
    let total: f32 = kept.iter().map(|id| masses[*id]).sum();
    let target = random(sampling.seed, position) * total;
    let mut sum = 0.0;
    for id in &kept {
        sum += masses[*id];
        if sum > target {
            return *id as u32;
        }
    }
    largest as u32
}

/// exp((logit - largest) / temperature) of each token.
fn masses(logits: &[f32], temperature: f32) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    logits
        .iter()
        .map(|logit| ((logit - largest) / temperature).max(-80.0).exp())
        .collect()
}

/// The ids that top-k, then top-p, then min-p leave; equal logits stay or go together.
fn kept(logits: &[f32], sampling: &Sampling) -> Vec<usize> {
    let masses = masses(logits, sampling.temperature);
    let mut order: Vec<usize> = (0..logits.len()).filter(|id| logits[*id] > FORBIDDEN).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));

    let mut least = FORBIDDEN.next_up();
    if sampling.top_k > 0 && (sampling.top_k as usize) < order.len() {
        least = logits[order[sampling.top_k as usize - 1]];
        order.retain(|id| logits[*id] >= least);
    }
    if sampling.top_p < 1.0 {
        let total: f32 = order.iter().map(|id| masses[*id]).sum();
        let mut sum = 0.0;
        for id in &order {
            sum += masses[*id] / total;
            least = logits[*id];
            if sum >= sampling.top_p {
                break;
            }
        }
    }
    if sampling.min_p > 0.0 {
        least = least.max(logits[order[0]] + sampling.min_p.ln() * sampling.temperature);
    }
    (0..logits.len()).filter(|id| logits[*id] >= least).collect()
}

/// A uniform number in [0, 1) from the seed and the position (PCG hash, Jarzynski and Olano 2020).
pub fn random(seed: [u32; 2], position: u32) -> f32 {
    let mut state = seed[0] ^ position.wrapping_mul(0x9e37_79b9);
    for _ in 0..2 {
        state = state
            .wrapping_mul(747_796_405)
            .wrapping_add(2_891_336_453)
            .wrapping_add(seed[1]);
        let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
        state = (word >> 22) ^ word;
    }
    (state >> 8) as f32 * 2f32.powi(-24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Step, testing::*};

    /// Runs the kernel on one row of logits; the step it leaves is checked too.
    fn on_gpu(gpu: &Gpu, config: &ModelConfig, logits: &[f32], sampling: Sampling, position: u32) -> u32 {
        let (tokens, chosen) = (gpu.storage("tokens", 4), gpu.storage("chosen", 8));
        let step = gpu.upload(
            "step",
            &[Step {
                position: position - 3,
                count: 3,
                head_row: 2,
                head_rows: 1,
            }],
        );
        let kernel = Sample::new(gpu, config);
        let bind_group = kernel.bind(
            gpu,
            &step,
            &gpu.upload("logits", logits),
            &gpu.upload("sampling", &[sampling]),
            &gpu.upload("fault", &[5u32]),
            &tokens,
            &chosen,
        );
        run(gpu, kernel.dispatch(&bind_group));
        let read_chosen = read::<Chosen>(gpu, &chosen)[0];
        assert_eq!(read_chosen.fault, 5);
        assert_eq!(read::<u32>(gpu, &tokens)[0], read_chosen.id);
        assert_eq!(
            read::<Step>(gpu, &step)[0],
            Step {
                position,
                count: 1,
                head_row: 0,
                head_rows: 1
            }
        );
        read_chosen.id
    }

    #[test]
    fn greedy_takes_the_first_largest() {
        let (gpu, mut random) = setup(11);
        for (largest, vocab) in [(700, 2000), (99, 100), (16, 257), (0, 1)] {
            let config = ModelConfig {
                vocab_size: vocab,
                ..config(&mut random)
            };
            let mut logits = floats(&mut random, vocab, 5.0);
            logits[largest] = 9.0;
            logits[vocab - 1] = 9.0;
            assert_eq!(on_gpu(&gpu, &config, &logits, Sampling::default(), 10), largest as u32);
            assert_eq!(sample(&logits, &Sampling::default(), 10), largest as u32);
        }
    }

    /// Every draw equals the twin's, except where the uniform number falls on a border between two tokens.
    #[test]
    fn draws_equal_the_twin() {
        let (gpu, mut random) = setup(12);
        let mut different = 0;
        for case in 0..60 {
            let vocab = [37, 512, 1500][case % 3];
            let config = ModelConfig {
                vocab_size: vocab,
                ..config(&mut random)
            };
            let mut logits = floats(&mut random, vocab, 4.0);
            if case % 2 == 1 {
                for logit in logits.iter_mut().step_by(2) {
                    *logit = FORBIDDEN;
                }
            }
            let sampling = Sampling {
                temperature: [0.3, 0.7, 1.0, 1.8][random.usize(..4)],
                top_k: [0, 1, 5, 40, 4000][random.usize(..5)],
                top_p: [1.0, 0.9, 0.5, 0.01][random.usize(..4)],
                min_p: [0.0, 0.05, 0.3][random.usize(..3)],
                seed: [random.u32(..), random.u32(..)],
            };
            let position = random.u32(3..5000);
            let id = on_gpu(&gpu, &config, &logits, sampling, position);
            assert!(
                kept(&logits, &sampling).contains(&(id as usize)),
                "{sampling:?} kept {id}"
            );
            different += usize::from(id != sample(&logits, &sampling, position));
        }
        assert!(different <= 1, "{different} of 60 draws differ");
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [1.0, 0.0, 2.0, -1.0];
        let sampling = Sampling {
            temperature: 1.0,
            seed: [1, 2],
            ..Default::default()
        };
        let mut counts = [0; 4];
        for position in 0..20_000 {
            counts[sample(&logits, &sampling, position) as usize] += 1;
        }
        let total: f32 = masses(&logits, 1.0).iter().sum();
        for (count, mass) in counts.iter().zip(masses(&logits, 1.0)) {
            assert!((*count as f32 / 20_000.0 - mass / total).abs() < 0.01, "{counts:?}");
        }
    }
}
