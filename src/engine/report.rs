//! What a generation tells of each token besides its id: log-probabilities, and the experts it took.

use std::rc::Rc;

use super::{Engine, RequestError};
use crate::{
    Result,
    gpu::Pass,
    kernels::{
        Choice,
        logprob::{Logprob, Scored},
        sample::Chosen,
    },
    model::Model,
};

/// The most of the likeliest tokens that can be reported.
pub const MAX_TOP_LOGPROBS: usize = 20;

/// Of one token. Empty where nothing was asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The chosen token under the model's own distribution: temperature 1, no filter, nothing steered.
    pub chosen: Option<Scored>,
    /// The likeliest tokens under that distribution, by falling probability.
    pub likeliest: Vec<Scored>,
    /// `[MoE layers, experts_per_token]`: what the pass took whose logits the token was chosen from.
    pub choices: Vec<Choice>,
}

/// What a generation that reports has of its own.
pub(super) struct Reporter {
    score: Option<Score>,
    top: usize,
    vocab_size: usize,
    /// The layers that have a choice to report.
    layers: Vec<usize>,
    choices_bytes: u64,
}

struct Score {
    kernel: Rc<Logprob>,
    bind_group: wgpu::BindGroup,
    scored: wgpu::Buffer,
}

const SCORED_BYTES: u64 = ((1 + MAX_TOP_LOGPROBS) * size_of::<Scored>()) as u64;

impl Engine {
    /// `None` if nothing is to be reported.
    pub(super) async fn reporter(&mut self, top_logprobs: Option<usize>, routing: bool) -> Result<Option<Reporter>> {
        let Model {
            gpu, config, scratch, ..
        } = &self.model;
        if top_logprobs.is_none() && !routing {
            return Ok(None);
        }
        let top = top_logprobs.unwrap_or(0);
        if top > MAX_TOP_LOGPROBS {
            return Err(RequestError::Option {
                option: "top_logprobs",
                found: top.to_string(),
                expected: "at most 20",
            }
            .into());
        }
        if top_logprobs.is_some() && self.likeliest.is_none() {
            let make = || Logprob::new(gpu, config, MAX_TOP_LOGPROBS);
            self.likeliest = Some(Rc::new(gpu.guard("the log-probabilities' kernel", make).await?));
        }
        let score = self.likeliest.clone().filter(|_| top_logprobs.is_some()).map(|kernel| {
            let scored = gpu.storage("scored", SCORED_BYTES);
            Score {
                bind_group: kernel.bind(gpu, &scratch.logits, &scratch.chosen, &scored),
                kernel,
                scored,
            }
        });
        let layers = config
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| layer.moe && routing);
        Ok(Some(Reporter {
            score,
            top,
            vocab_size: config.vocab_size,
            layers: layers.map(|(i, _)| i).collect(),
            choices_bytes: (config.experts_per_token * size_of::<Choice>()) as u64,
        }))
    }
}

impl Reporter {
    /// What a token's report takes in a staging buffer, behind what was chosen.
    pub fn bytes(&self) -> u64 {
        self.scored_bytes() + self.layers.len() as u64 * self.choices_bytes
    }

    fn scored_bytes(&self) -> u64 {
        if self.score.is_some() { SCORED_BYTES } else { 0 }
    }

    /// Scores what the pass has chosen.
    pub fn score(&self, pass: &mut Pass) {
        if let Some(Score { kernel, bind_group, .. }) = &self.score {
            kernel.dispatch(bind_group, 1).encode(pass);
        }
    }

    /// Copies the report of the pass just submitted, whose `row`-th token was the last.
    pub fn copy(&self, model: &Model, row: usize, staging: &wgpu::Buffer) {
        let mut commands = model.gpu.commands();
        let mut end = size_of::<Chosen>() as u64;
        if let Some(Score { scored, .. }) = &self.score {
            commands.copy_part((scored, 0), (staging, end), SCORED_BYTES);
            end += SCORED_BYTES;
        }
        for layer in &self.layers {
            let begin = model.choices_offset_bytes(*layer) + row as u64 * self.choices_bytes;
            commands.copy_part((&model.scratch.choices, begin), (staging, end), self.choices_bytes);
            end += self.choices_bytes;
        }
        commands.submit();
    }

    /// The report in the words copied.
    pub fn parse(&self, words: &[u32]) -> Report {
        let (scored, choices) = words.split_at(self.scored_bytes() as usize / 4);
        let scored: &[Scored] = bytemuck::cast_slice(scored);
        let exists = |scored: &&Scored| (scored.id as usize) < self.vocab_size;
        Report {
            chosen: scored.first().copied(),
            likeliest: scored
                .iter()
                .skip(1)
                .take(self.top)
                .take_while(exists)
                .copied()
                .collect(),
            choices: bytemuck::pod_collect_to_vec(choices),
        }
    }
}
