//! Penalties, bias and mask: what moves the logits before a token is chosen.

use std::rc::Rc;

use super::{Engine, RequestError, generate::refuse};
use crate::{
    Result,
    gpu::Pass,
    kernels::adjust::{Adjust, Adjustment},
    model::Model,
};

/// How the choice of tokens is steered. The defaults leave it to the model, and then nothing is dispatched for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Steering {
    /// Divides the positive logits, and multiplies the others, of tokens in the prompt or the answer; 1: off.
    pub repetition_penalty: f32,
    /// Taken off a logit once for each time its token is in the answer.
    pub frequency_penalty: f32,
    /// Taken off a logit if its token is in the answer.
    pub presence_penalty: f32,
    /// Added to the logits of these tokens.
    pub bias: Vec<(u32, f32)>,
    /// Each token is chosen under a mask of its own ([`Running::set_mask`](super::Running::set_mask)); everything is
    /// allowed until the first.
    pub masked: bool,
}

impl Default for Steering {
    fn default() -> Self {
        Steering {
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            bias: Vec::new(),
            masked: false,
        }
    }
}

impl Steering {
    pub(super) fn check(&self, vocab_size: usize) -> Result<(), RequestError> {
        let Steering {
            repetition_penalty,
            frequency_penalty,
            presence_penalty,
            ..
        } = *self;
        if !(repetition_penalty > 0.0 && repetition_penalty <= 100.0) {
            return refuse("repetition_penalty", repetition_penalty, "above 0 and at most 100");
        }
        for (option, penalty) in [
            ("frequency_penalty", frequency_penalty),
            ("presence_penalty", presence_penalty),
        ] {
            if !(-100.0..=100.0).contains(&penalty) {
                return refuse(option, penalty, "from -100 to 100");
            }
        }
        for (id, bias) in &self.bias {
            if *id as usize >= vocab_size {
                return Err(RequestError::Option {
                    option: "logit_bias",
                    found: format!("for token {id}"),
                    expected: "for tokens of the vocabulary",
                });
            }
            if !(-1e4..=1e4).contains(bias) {
                return refuse("logit_bias", *bias, "from -10000 to 10000");
            }
        }
        Ok(())
    }

    fn adjustment(&self, input_is_answer: bool) -> Adjustment {
        Adjustment {
            repetition: self.repetition_penalty,
            frequency: self.frequency_penalty,
            presence: self.presence_penalty,
            input_is_answer: input_is_answer.into(),
        }
    }
}

/// A steered generation's own kernel bindings and buffers.
pub(super) struct Adjuster {
    kernel: Rc<Adjust>,
    steering: Steering,
    adjustment: wgpu::Buffer,
    mask: wgpu::Buffer,
    bias: wgpu::Buffer,
    said: wgpu::Buffer,
    adjusted: wgpu::Buffer,
    adjust: wgpu::BindGroup,
    sample: wgpu::BindGroup,
}

impl Engine {
    /// What a generation needs to be steered; `None` if nothing steers it.
    pub(super) async fn adjuster(&mut self, steering: &Steering, prompt: &[u32]) -> Result<Option<Adjuster>> {
        if *steering == Steering::default() {
            return Ok(None);
        }
        let Model {
            gpu, config, scratch, ..
        } = &self.model;
        if self.adjust.is_none() {
            let kernel = gpu.guard("the penalties' kernel", || Adjust::new(gpu, config)).await?;
            self.adjust = Some(Rc::new(kernel));
        }
        let kernel = self.adjust.clone().expect("made above");

        let mut bias = vec![0.0f32; config.vocab_size];
        for (id, value) in &steering.bias {
            bias[*id as usize] += value;
        }
        let mut said = vec![0u32; config.vocab_size];
        for id in prompt {
            said[*id as usize] = 1;
        }
        let adjuster = gpu.guard("penalties, bias and mask", || {
            let adjustment = gpu.upload("adjustment", &[steering.adjustment(false)]);
            let mask = gpu.upload("mask", &vec![u32::MAX; config.vocab_size.div_ceil(32)]);
            let bias = gpu.upload("bias", &bias);
            let said = gpu.upload("said", &said);
            let adjusted = gpu.storage("adjusted logits", (config.vocab_size * 4) as u64);
            Adjuster {
                adjust: kernel.bind(
                    gpu,
                    &scratch.logits,
                    &adjustment,
                    &scratch.tokens,
                    &bias,
                    &mask,
                    &said,
                    &adjusted,
                ),
                sample: self.model.sample_kernel().bind(
                    gpu,
                    &scratch.step,
                    &adjusted,
                    &scratch.sampling,
                    &scratch.fault,
                    &scratch.tokens,
                    &scratch.chosen,
                ),
                kernel,
                steering: steering.clone(),
                adjustment,
                mask,
                bias,
                said,
                adjusted,
            }
        });
        Ok(Some(adjuster.await?))
    }
}

impl Adjuster {
    /// From now on passes are fed tokens of the answer, which count.
    pub fn count_input(&self, model: &Model) {
        let adjustment = self.steering.adjustment(true);
        model.gpu.write(&self.adjustment, 0, bytemuck::bytes_of(&adjustment));
    }

    pub fn set_mask(&self, model: &Model, mask: &[u32]) -> Result<(), RequestError> {
        let vocab_size = model.config.vocab_size;
        let words = vocab_size.div_ceil(32);
        if mask.len() != words {
            return Err(RequestError::Mask(format!(
                "it has {} words; {vocab_size} tokens take {words}",
                mask.len()
            )));
        }
        let unused = words * 32 - vocab_size;
        let allowed = |(i, word): (usize, &u32)| {
            let tokens = if i + 1 == words { u32::MAX >> unused } else { u32::MAX };
            word & tokens != 0
        };
        if !mask.iter().enumerate().any(allowed) {
            return Err(RequestError::Mask("it allows no token".into()));
        }
        model.gpu.write(&self.mask, 0, bytemuck::cast_slice(mask));
        Ok(())
    }

    /// Chooses from the logits as steered; otherwise as [`Model::sample`].
    pub fn choose(&self, model: &Model, pass: &mut Pass) {
        self.kernel.dispatch(&self.adjust).encode(pass);
        model.sample_kernel().dispatch(&self.sample).encode(pass);
    }
}

impl Drop for Adjuster {
    /// Frees the memory now, as a cache's: rows of the vocabulary add up.
    fn drop(&mut self) {
        for buffer in [&self.adjustment, &self.mask, &self.bias, &self.said, &self.adjusted] {
            buffer.destroy();
        }
    }
}
