//! Prompt in, tokens out.

use std::{collections::VecDeque, ops::ControlFlow};

use serde::Serialize;
use web_time::Instant;

use super::{Engine, RequestError, Session};
use crate::{
    Result,
    gpu::Mapping,
    kernels::sample::{Chosen, Sampling},
    model::Model,
};

/// How to continue a prompt. The defaults decode greedily.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// At most this many tokens; the context's end comes first if it is nearer.
    pub max_tokens: usize,
    pub sampling: Sampling,
    /// Generation ends before a token of these.
    pub stop_token_ids: Vec<u32>,
    /// Steps submitted before the id of an earlier one has come back. Changes how fast, never what.
    pub run_ahead: usize,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            max_tokens: 256,
            sampling: Sampling::default(),
            stop_token_ids: Vec::new(),
            run_ahead: 2,
        }
    }
}

/// What happens while generating; the answer decides whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// So many of the prompt's tokens are done.
    Prompt { done: usize, total: usize },
    /// The next token.
    Token(u32),
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// A stop token came.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
    /// An event was answered with `Break`.
    Aborted,
}

/// A finished generation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// Without the stop token.
    pub tokens: Vec<u32>,
    pub finish: Finish,
    pub prompt_tokens: usize,
    /// Prompt tokens that the session held already.
    pub reused_tokens: usize,
    /// From the call to the first token.
    pub prefill_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
}

impl Engine {
    /// Continues `ids`, the whole conversation so far: what `session` holds of it is not computed again. Afterwards the
    /// session holds `ids` and the answer.
    ///
    /// Errors: ids that are empty, out of range or too many, bad options, a lost device.
    pub async fn generate(
        &mut self,
        session: &mut Session,
        ids: &[u32],
        options: &GenerateOptions,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Generation> {
        let begin = Instant::now();
        self.check_ids(ids, 0)?;
        check_sampling(&options.sampling)?;
        let model = &self.model;
        model.gpu.check()?;
        let max_tokens = options.max_tokens.min(model.plan.context_length - ids.len());
        let reused_tokens = session.keep_prefix_of(ids);
        let mut generation = Generation {
            tokens: Vec::new(),
            finish: Finish::Length,
            prompt_tokens: ids.len(),
            reused_tokens,
            prefill_ms: 0.0,
            decode_ms: 0.0,
        };

        // The prompt, all but its last chunk: nothing comes back but that it is done.
        model.gpu.write(&model.scratch.fault, 0, &[0; 4]);
        model
            .gpu
            .write(&model.scratch.sampling, 0, bytemuck::bytes_of(&options.sampling));
        while session.tokens.len() + model.plan.chunk_tokens < ids.len() {
            let done = session.tokens.len() + model.plan.chunk_tokens;
            session
                .feed(model, &ids[done - model.plan.chunk_tokens..done], None, |_| ())
                .await?;
            model.gpu.idle().await?;
            if on_event(Event::Prompt { done, total: ids.len() }).is_break() {
                generation.finish = Finish::Aborted;
                generation.prefill_ms = milliseconds(begin);
                return Ok(generation);
            }
        }

        let mut read_back = ReadBack::new(model, options.run_ahead);
        let rest = &ids[session.tokens.len()..];
        session
            .feed(model, rest, Some(read_back.staging()), |pass| {
                model.head(pass, 1);
                model.sample(pass);
            })
            .await?;
        read_back.map(model);

        let mut first_token = None;
        let mut submitted = 1;
        let finish = loop {
            if generation.tokens.len() == max_tokens {
                break Ok(Finish::Length);
            }
            // Each step feeds the token that the step before it left on the GPU.
            while submitted < max_tokens && submitted <= generation.tokens.len() + options.run_ahead {
                let position = ids.len() + submitted - 1;
                session.cache.reserve(model, position + 1).await?;
                model.submit(None, Some(read_back.staging()), |pass| {
                    model.forward(pass, &session.cache, 1);
                    model.head(pass, 1);
                    model.sample(pass);
                });
                read_back.map(model);
                submitted += 1;
            }
            let chosen = match read_back.next(model).await {
                Ok(chosen) => chosen,
                Err(error) => break Err(error),
            };
            first_token.get_or_insert_with(|| {
                generation.prefill_ms = milliseconds(begin);
                Instant::now()
            });
            if options.stop_token_ids.contains(&chosen.id) {
                break Ok(Finish::Stop);
            }
            generation.tokens.push(chosen.id);
            if on_event(Event::Token(chosen.id)).is_break() {
                break Ok(Finish::Aborted);
            }
        };
        // Steps that ran ahead have fed tokens that are worth keeping; what they chose is not.
        let fed = (submitted - 1).min(generation.tokens.len());
        session.tokens.extend_from_slice(&generation.tokens[..fed]);
        let drained = read_back.drain(model).await;
        generation.finish = match (finish, drained) {
            (Ok(finish), Ok(())) => finish,
            (Err(error), _) | (_, Err(error)) => {
                // Something was not computed: nothing after the part that was there before can be relied on.
                session.tokens.truncate(reused_tokens);
                return Err(error);
            }
        };
        generation.decode_ms = first_token.map_or(0.0, milliseconds);
        Ok(generation)
    }
}

/// Chosen ids on their way to the host, in order.
struct ReadBack {
    staging: Vec<wgpu::Buffer>,
    pending: VecDeque<Mapping>,
    requested: usize,
}

impl ReadBack {
    fn new(model: &Model, run_ahead: usize) -> ReadBack {
        let staging = || model.gpu.staging("chosen", size_of::<Chosen>() as u64);
        ReadBack {
            staging: (0..=run_ahead + 1).map(|_| staging()).collect(),
            pending: VecDeque::new(),
            requested: 0,
        }
    }

    /// Where the next step's choice is to be copied.
    fn staging(&self) -> &wgpu::Buffer {
        &self.staging[self.requested % self.staging.len()]
    }

    /// Asks for the choice just copied there.
    fn map(&mut self, model: &Model) {
        self.pending.push_back(model.gpu.map(self.staging()));
        self.requested += 1;
    }

    /// The oldest choice still to come.
    async fn next(&mut self, model: &Model) -> Result<Chosen> {
        let mapping = self
            .pending
            .pop_front()
            .expect("a step was submitted for every choice awaited");
        let chosen: Chosen = model.gpu.finish(mapping).await?[0];
        if chosen.fault != 0 {
            let (experts, fault) = (model.config.experts.max(1), chosen.fault as usize - 1);
            return Err(RequestError::MissingExpert {
                layer: fault / experts,
                expert: fault % experts,
            }
            .into());
        }
        Ok(chosen)
    }

    async fn drain(&mut self, model: &Model) -> Result<()> {
        while !self.pending.is_empty() {
            self.next(model).await?;
        }
        Ok(())
    }
}

fn check_sampling(sampling: &Sampling) -> Result<(), RequestError> {
    let Sampling {
        temperature,
        top_p,
        min_p,
        ..
    } = *sampling;
    let refuse = |option, found: f32, expected| {
        Err(RequestError::Option {
            option,
            found: found.to_string(),
            expected,
        })
    };
    match () {
        _ if !(0.0..=100.0).contains(&temperature) => refuse("temperature", temperature, "from 0 to 100"),
        _ if !(top_p > 0.0 && top_p <= 1.0) => refuse("top_p", top_p, "above 0 and at most 1"),
        _ if !(0.0..=1.0).contains(&min_p) => refuse("min_p", min_p, "from 0 to 1"),
        _ => Ok(()),
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
