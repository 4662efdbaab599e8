//! Prompt in, tokens out.

use std::{collections::VecDeque, ops::ControlFlow};

use serde::Serialize;
use web_time::Instant;

use super::{
    Engine, RequestError, Session,
    report::{Report, Reporter},
    steer::{Adjuster, Steering},
};
use crate::{
    Result,
    gpu::{Mapping, Pass},
    kernels::{
        Step,
        sample::{Chosen, Sampling},
    },
    model::Model,
};

/// How to continue a prompt. The defaults decode greedily.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// At most this many tokens; the context's end comes first if it is nearer.
    pub max_tokens: usize,
    pub sampling: Sampling,
    /// Penalties, bias, mask.
    pub steering: Steering,
    /// Generation ends before a token of these.
    pub stop_token_ids: Vec<u32>,
    /// Report each token's log-probability, and so many of the likeliest ([`MAX_TOP_LOGPROBS`](super::MAX_TOP_LOGPROBS)).
    pub top_logprobs: Option<usize>,
    /// Report the experts that each token took.
    pub routing: bool,
    /// Steps submitted before the id of an earlier one has come back. Changes how fast, never what.
    pub run_ahead: usize,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            max_tokens: 256,
            sampling: Sampling::default(),
            steering: Steering::default(),
            stop_token_ids: Vec::new(),
            top_logprobs: None,
            routing: false,
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
    /// It was ended from outside.
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
    /// From the begin to the first token; includes the turns of others.
    pub prefill_ms: f64,
    /// From the first token to the last.
    pub decode_ms: f64,
}

/// A generation under way. It goes on by [`Engine::step`]; several can take turns, each with a session of its own.
pub struct Running {
    ids: Vec<u32>,
    options: GenerateOptions,
    generation: Generation,
    began: Instant,
    first_token: Option<Instant>,
    finish: Option<Finish>,
    /// Steps submitted that choose a token.
    submitted: usize,
    read_back: ReadBack,
    /// Holds the token to feed next while others have their turn.
    next_token: wgpu::Buffer,
    adjuster: Option<Adjuster>,
    reporter: Option<Reporter>,
    report: Report,
}

impl Running {
    /// What was asked to be reported of the last token.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Decides what may be chosen next (`Steering::masked`): a bit for each token of the vocabulary, 1 if allowed.
    pub fn set_mask(&self, engine: &Engine, mask: &[u32]) -> Result<(), RequestError> {
        let Some(adjuster) = self.adjuster.as_ref().filter(|_| self.options.steering.masked) else {
            return Err(RequestError::Mask("the generation was begun without one".into()));
        };
        adjuster.set_mask(&engine.model, mask)
    }
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
        let mut running = self.begin(session, ids, options.clone()).await?;
        while let Some(event) = self.step(&mut running, session).await? {
            if on_event(event).is_break() {
                break;
            }
        }
        self.end(running, session).await
    }

    /// Begins what [`Engine::generate`] does in one go. `session` is the generation's own until [`Engine::end`].
    pub async fn begin(&mut self, session: &mut Session, ids: &[u32], options: GenerateOptions) -> Result<Running> {
        let began = Instant::now();
        self.check_ids(ids, 0)?;
        check_sampling(&options.sampling)?;
        options.steering.check(self.model.config.vocab_size)?;
        self.model.gpu.check()?;
        let adjuster = self.adjuster(&options.steering, ids).await?;
        let reporter = self.reporter(options.top_logprobs, options.routing).await?;
        let model = &self.model;
        let options = GenerateOptions {
            max_tokens: options.max_tokens.min(model.plan.context_length - ids.len()),
            // The mask of a token depends on the token before.
            run_ahead: if options.steering.masked { 0 } else { options.run_ahead },
            ..options
        };
        let report_bytes = reporter.as_ref().map_or(0, Reporter::bytes);
        Ok(Running {
            generation: Generation {
                tokens: Vec::new(),
                finish: Finish::Aborted,
                prompt_tokens: ids.len(),
                reused_tokens: session.keep_prefix_of(ids),
                prefill_ms: 0.0,
                decode_ms: 0.0,
            },
            began,
            first_token: None,
            finish: None,
            submitted: 0,
            read_back: ReadBack::new(model, options.run_ahead, report_bytes),
            next_token: model.gpu.storage("next token", 4),
            adjuster,
            reporter,
            report: Report::default(),
            ids: ids.to_vec(),
            options,
        })
    }

    /// One chunk of the prompt, or one token. `None`: the generation is over. After an error it is over, too.
    pub async fn step(&mut self, running: &mut Running, session: &mut Session) -> Result<Option<Event>> {
        if running.finish.is_some() {
            return Ok(None);
        }
        self.take_turn(running);
        let event = running.advance(&self.model, session).await;
        if event.is_err() {
            // Something was not computed: nothing after the part that was there before can be relied on.
            running.finish = Some(Finish::Aborted);
            session.tokens.truncate(running.generation.reused_tokens);
        }
        event
    }

    /// Ends a generation, whether or not it was over.
    pub async fn end(&mut self, mut running: Running, session: &mut Session) -> Result<Generation> {
        // Its next token is wanted no more.
        self.turn.take_if(|turn| *turn == running.next_token);
        let drained = running.read_back.drain(&self.model).await;
        if let Err(error) = drained {
            session.tokens.truncate(running.generation.reused_tokens);
            return Err(error);
        }
        let mut generation = running.generation;
        // Steps that ran ahead have fed tokens that are worth keeping; what they chose is not.
        let fed = running.submitted.saturating_sub(1).min(generation.tokens.len());
        session.tokens.extend_from_slice(&generation.tokens[..fed]);
        generation.finish = running.finish.unwrap_or(Finish::Aborted);
        match running.first_token {
            Some(first) => generation.decode_ms = milliseconds(first),
            None => generation.prefill_ms = milliseconds(running.began),
        }
        Ok(generation)
    }

    /// Makes `running` the one whose state the shared buffers hold.
    fn take_turn(&mut self, running: &Running) {
        if self.turn.as_ref() == Some(&running.next_token) {
            return;
        }
        self.put_by();
        let Model { gpu, scratch, .. } = &self.model;
        gpu.write(&scratch.fault, 0, &[0; 4]);
        gpu.write(&scratch.sampling, 0, bytemuck::bytes_of(&running.options.sampling));
        if running.submitted > 0 {
            let step = Step {
                position: (running.ids.len() + running.submitted - 1) as u32,
                count: 1,
                head_row: 0,
                head_rows: 1,
            };
            gpu.write(&scratch.step, 0, bytemuck::bytes_of(&step));
            copy_word(&self.model, &running.next_token, &scratch.tokens);
        }
        self.turn = Some(running.next_token.clone());
    }

    /// Keeps the state of whoever has the turn, so that others may use the shared buffers.
    pub(super) fn put_by(&mut self) {
        if let Some(next_token) = self.turn.take() {
            copy_word(&self.model, &self.model.scratch.tokens, &next_token);
        }
    }
}

impl Running {
    async fn advance(&mut self, model: &Model, session: &mut Session) -> Result<Option<Event>> {
        let (chunk, total) = (model.plan.chunk_tokens, self.ids.len());
        if self.submitted == 0 {
            // The prompt, all but its last chunk: nothing comes back but that it is done.
            let begin = session.tokens.len();
            if begin + chunk < total {
                let done = begin + chunk;
                session.feed(model, &self.ids[begin..done], None, |_| ()).await?;
                model.gpu.idle().await?;
                return Ok(Some(Event::Prompt { done, total }));
            }
            session
                .feed(model, &self.ids[begin..], Some(self.read_back.staging()), |pass| {
                    self.choose(model, pass)
                })
                .await?;
            self.submitted(model, total - begin - 1);
        }
        if self.generation.tokens.len() == self.options.max_tokens {
            self.finish = Some(Finish::Length);
            return Ok(None);
        }
        // Each step feeds the token that the step before it left on the GPU.
        while self.submitted < self.options.max_tokens
            && self.submitted <= self.generation.tokens.len() + self.options.run_ahead
        {
            let position = total + self.submitted - 1;
            session.cache.reserve(model, position + 1).await?;
            if let Some(adjuster) = &self.adjuster {
                adjuster.count_input(model);
            }
            model.submit(None, Some(self.read_back.staging()), |pass| {
                model.forward(pass, &session.cache, position, 1);
                self.choose(model, pass);
            });
            self.submitted(model, 0);
        }
        let (chosen, report) = self.read_back.next(model).await?;
        self.first_token.get_or_insert_with(|| {
            self.generation.prefill_ms = milliseconds(self.began);
            Instant::now()
        });
        if self.options.stop_token_ids.contains(&chosen.id) {
            self.finish = Some(Finish::Stop);
            return Ok(None);
        }
        if let Some(reporter) = &self.reporter {
            self.report = reporter.parse(&report);
        }
        self.generation.tokens.push(chosen.id);
        Ok(Some(Event::Token(chosen.id)))
    }

    /// The end of a pass that chooses a token.
    fn choose(&self, model: &Model, pass: &mut Pass) {
        model.head(pass, 1);
        match &self.adjuster {
            None => model.sample(pass),
            Some(adjuster) => adjuster.choose(model, pass),
        }
        if let Some(reporter) = &self.reporter {
            reporter.score(pass);
        }
    }

    /// A pass that chooses was submitted; the token it chose from is the pass's `row`-th.
    fn submitted(&mut self, model: &Model, row: usize) {
        if let Some(reporter) = &self.reporter {
            reporter.copy(model, row, self.read_back.staging());
        }
        self.read_back.map(model);
        self.submitted += 1;
    }
}

/// Chosen ids, and what is reported with them, on their way to the host, in order.
struct ReadBack {
    staging: Vec<wgpu::Buffer>,
    pending: VecDeque<Mapping>,
    requested: usize,
}

impl ReadBack {
    fn new(model: &Model, run_ahead: usize, report_bytes: u64) -> ReadBack {
        let staging = || model.gpu.staging("chosen", size_of::<Chosen>() as u64 + report_bytes);
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

    /// The oldest choice still to come, and the words reported with it.
    async fn next(&mut self, model: &Model) -> Result<(Chosen, Vec<u32>)> {
        let mapping = self
            .pending
            .pop_front()
            .expect("a step was submitted for every choice awaited");
        let mut words: Vec<u32> = model.gpu.finish(mapping).await?;
        let report = words.split_off(size_of::<Chosen>() / 4);
        let chosen: Chosen = bytemuck::cast_slice(&words)[0];
        if chosen.fault != 0 {
            let (experts, fault) = (model.config.experts.max(1), chosen.fault as usize - 1);
            return Err(RequestError::MissingExpert {
                layer: fault / experts,
                expert: fault % experts,
            }
            .into());
        }
        Ok((chosen, report))
    }

    async fn drain(&mut self, model: &Model) -> Result<()> {
        while !self.pending.is_empty() {
            self.next(model).await?;
        }
        Ok(())
    }
}

impl Drop for ReadBack {
    fn drop(&mut self) {
        for staging in &self.staging {
            staging.destroy();
        }
    }
}

/// The first word of one buffer to another's.
fn copy_word(model: &Model, from: &wgpu::Buffer, to: &wgpu::Buffer) {
    let mut commands = model.gpu.commands();
    commands.copy(from, to, 4);
    commands.submit();
}

fn check_sampling(sampling: &Sampling) -> Result<(), RequestError> {
    let Sampling {
        temperature,
        top_p,
        min_p,
        ..
    } = *sampling;
    match () {
        _ if !(0.0..=100.0).contains(&temperature) => refuse("temperature", temperature, "from 0 to 100"),
        _ if !(top_p > 0.0 && top_p <= 1.0) => refuse("top_p", top_p, "above 0 and at most 1"),
        _ if !(0.0..=1.0).contains(&min_p) => refuse("min_p", min_p, "from 0 to 1"),
        _ => Ok(()),
    }
}

pub(super) fn refuse(option: &'static str, found: f32, expected: &'static str) -> Result<(), RequestError> {
    Err(RequestError::Option {
        option,
        found: found.to_string(),
        expected,
    })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
