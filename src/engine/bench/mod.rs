//! How fast a model runs on this device: prefill by prompt length, decode by context, and what a token costs in calls.
//!
//! Everything is measured through [`Engine::generate`], which is what a chat runs.

mod memory;
mod report;
mod streams;

use std::{collections::BTreeSet, ops::ControlFlow};

use report::by_time;
pub use report::{BenchReport, DecodeFigure, KernelProfile, PerToken, PrefillFigure, Profile, Spread};
use serde::{Deserialize, Serialize};
pub use streams::streams;
use web_time::Instant;

use super::{Engine, Event, GenerateOptions, LogitsTrace, RequestError, Session};
use crate::{
    Result,
    gpu::{Counts, KernelTime},
    model::{min_weight_bytes_per_token, token_reads},
};

/// What to measure, and how long that may take.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchOptions {
    /// Prompt lengths in tokens, each with every stream.
    pub prompts: Vec<usize>,
    /// Tokens in the cache when decoding begins.
    pub contexts: Vec<usize>,
    /// What prompts are made of; decoding begins after the first one's tokens.
    pub streams: Vec<Stream>,
    pub fill: Fill,
    /// Runs of each measurement.
    pub repeats: usize,
    /// Tokens decoded in a run.
    pub tokens: usize,
    /// A measurement begins no further run, and cuts the first one short, when it has taken so long.
    pub budget_ms: f64,
    /// Time each kernel too, where the device has timestamps.
    pub profile: bool,
}

impl Default for BenchOptions {
    fn default() -> Self {
        BenchOptions {
            prompts: vec![128, 512, 1024, 2048],
            contexts: vec![256, 1024, 4096, 8192],
            streams: Vec::new(),
            fill: Fill::Random,
            repeats: 3,
            tokens: 32,
            budget_ms: 20_000.0,
            profile: true,
        }
    }
}

/// A named sequence of token ids, repeated as often as need be.
#[derive(Debug, Clone, PartialEq)]
pub struct Stream {
    pub name: String,
    pub ids: Vec<u32>,
}

/// How the cache comes to hold a context that is to be decoded after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Random keys and values: it takes as long to attend to them as to real ones.
    Random,
    /// The first stream's tokens are computed.
    Prompt,
}

/// What is being measured, `done` of `total` measurements before it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchProgress {
    pub now: String,
    pub done: usize,
    pub total: usize,
}

/// Decoded in a profile.
const PROFILED_TOKENS: usize = 4;

/// Room in the context behind what a run decodes, for steps that ran ahead.
fn decode_room(tokens: usize) -> usize {
    tokens + GenerateOptions::default().run_ahead + 2
}

impl Engine {
    /// Measures what `options` ask for. `on_progress` hears of each run and each chunk of a long prompt; `Break` ends the
    /// benchmark with what there is. Lengths that do not fit the context are cut to what does.
    ///
    /// Errors: no stream or an empty one, ids out of range, a lost device.
    pub async fn bench(
        &mut self,
        options: &BenchOptions,
        on_progress: &mut dyn FnMut(&BenchProgress) -> ControlFlow<()>,
    ) -> Result<BenchReport> {
        if options.streams.is_empty() {
            let (option, found, expected) = ("streams", "empty".into(), "at least one stream of ids");
            return Err(RequestError::Option {
                option,
                found,
                expected,
            }
            .into());
        }
        let context_length = self.model.plan.context_length;
        let cut = |lengths: &[usize], room: usize| {
            let longest = context_length.saturating_sub(room);
            let mut lengths: Vec<usize> = lengths.iter().map(|length| (*length).min(longest)).collect();
            lengths.dedup();
            lengths
        };
        let contexts = cut(&options.contexts, decode_room(options.tokens));
        let prompts = cut(&options.prompts, 1);
        let mut bench = Bench {
            session: self.session().await?,
            report: self.empty_report(),
            options,
            progress: BenchProgress {
                now: "warming up".into(),
                done: 0,
                total: prompts.len() * options.streams.len() + contexts.len(),
            },
            on_progress,
            counts: Counts::default(),
            counted_tokens: 0,
        };
        bench.run(self, &prompts, &contexts).await?;
        Ok(bench.finish())
    }

    fn empty_report(&self) -> BenchReport {
        let facts = self.facts();
        let reads = token_reads(self.config(), facts.kv, 0);
        BenchReport {
            adapter: facts.adapter,
            backend: facts.backend,
            variant: self.model.variant.to_string(),
            kv: facts.kv,
            chunk_tokens: facts.chunk_tokens,
            prefill_tokens_per_s: None,
            decode_ms_per_token: None,
            per_token: None,
            weight_bytes_per_token: reads.iter().map(|reads| reads.weight_bytes).sum(),
            min_weight_bytes_per_token: min_weight_bytes_per_token(self.config()),
            weight_bytes: facts.weight_bytes,
            read_gb_per_s: 0.0,
            gpu_bytes: facts.weight_bytes + facts.scratch_bytes,
            prefill: Vec::new(),
            decode: Vec::new(),
            profile: None,
            aborted: false,
        }
    }
}

struct Bench<'a> {
    session: Session,
    report: BenchReport,
    options: &'a BenchOptions,
    progress: BenchProgress,
    on_progress: &'a mut dyn FnMut(&BenchProgress) -> ControlFlow<()>,
    /// Over all decode runs.
    counts: Counts,
    counted_tokens: u64,
}

impl Bench<'_> {
    async fn run(&mut self, engine: &mut Engine, prompts: &[usize], contexts: &[usize]) -> Result<()> {
        if !self.goes_on() {
            return Ok(());
        }
        self.warm_up(engine).await?;
        self.report.read_gb_per_s = memory::read_gb_per_s(&engine.model).await?;
        for context in contexts {
            self.decode(engine, *context).await?;
            self.progress.done += 1;
        }
        for prompt in prompts {
            for stream in &self.options.streams {
                self.prefill(engine, *prompt, stream).await?;
                self.progress.done += 1;
            }
        }
        if self.options.profile && engine.model.gpu.has_timestamps() {
            self.profile(engine, contexts.first().copied().unwrap_or(0)).await?;
        }
        Ok(())
    }

    fn finish(mut self) -> BenchReport {
        let per_token = |count: u64| count as f64 / self.counted_tokens as f64;
        if self.counted_tokens > 0 {
            self.report.per_token = Some(PerToken {
                dispatches_per_token: per_token(self.counts.dispatches),
                passes_per_token: per_token(self.counts.passes),
                submits_per_token: per_token(self.counts.submits),
                readback_bytes_per_token: per_token(self.counts.read_back_bytes),
                buffer_writes_per_token: per_token(self.counts.writes),
                bind_groups_created_per_token: per_token(self.counts.bind_groups),
                buffers_created_per_token: per_token(self.counts.buffers),
            });
        }
        self.report.prefill_tokens_per_s = self.report.prefill.first().map(|figure| figure.tokens_per_s.median);
        self.report.decode_ms_per_token = self.report.decode.first().map(|figure| figure.ms_per_token.median);
        self.report.gpu_bytes += self.session.bytes();
        self.report
    }

    /// Reports progress; false when the caller has had enough.
    fn goes_on(&mut self) -> bool {
        self.report.aborted |= (self.on_progress)(&self.progress).is_break();
        !self.report.aborted
    }

    /// Whether a measurement takes another run.
    fn runs_again(&mut self, what: &str, runs: usize, began: Instant) -> bool {
        let spent_ms = milliseconds(began);
        let time_left = runs == 0 || spent_ms + spent_ms / runs as f64 <= self.options.budget_ms;
        if self.report.aborted || runs == self.options.repeats.max(1) || !time_left {
            return false;
        }
        self.progress.now = format!("{what}, run {} of {}", runs + 1, self.options.repeats.max(1));
        self.goes_on()
    }

    /// Compiles, caches and clocks settle: a few tokens in, a few out.
    async fn warm_up(&mut self, engine: &mut Engine) -> Result<()> {
        let ids = self.options.streams[0].take(8.min(engine.model.plan.context_length - 1));
        let options = GenerateOptions {
            max_tokens: 2,
            ..Default::default()
        };
        engine
            .generate(&mut self.session, &ids, &options, &mut |_| ControlFlow::Continue(()))
            .await?;
        Ok(())
    }

    async fn decode(&mut self, engine: &mut Engine, context: usize) -> Result<()> {
        let what = format!("decode after {context} tokens");
        let ids = self.options.streams[0].take(context + 1);
        let (mut ms_per_token, mut fewest_tokens) = (Vec::new(), usize::MAX);
        if self.report.aborted {
            return Ok(());
        }
        self.hold(engine, &ids[..context]).await?;
        let began = Instant::now();
        while self.runs_again(&what, ms_per_token.len(), began) {
            let (ms, tokens) = self.decode_run(engine, &ids).await?;
            ms_per_token.push(ms / tokens as f64);
            fewest_tokens = fewest_tokens.min(tokens);
        }
        if let Some(ms_per_token) = Spread::of(ms_per_token) {
            let reads = token_reads(engine.config(), self.report.kv, context);
            let bytes: u64 = reads.iter().map(|reads| reads.weight_bytes + reads.kv_bytes).sum();
            self.report.decode.push(DecodeFigure {
                context,
                fill: self.options.fill,
                tokens: fewest_tokens,
                gb_per_s: bytes as f64 / ms_per_token.median / 1e6,
                ms_per_token,
            });
        }
        Ok(())
    }

    /// Brings `ids` into the cache, and room for a run behind them.
    async fn hold(&mut self, engine: &mut Engine, ids: &[u32]) -> Result<()> {
        let room = ids.len() + decode_room(self.options.tokens);
        self.session.cache.reserve(&engine.model, room).await?;
        match self.options.fill {
            Fill::Random => self.session.pretend(&engine.model, ids).await,
            Fill::Prompt if ids.is_empty() => Ok(()),
            Fill::Prompt => {
                let options = GenerateOptions {
                    max_tokens: 1,
                    run_ahead: 0,
                    ..Default::default()
                };
                engine
                    .generate(&mut self.session, ids, &options, &mut |_| ControlFlow::Continue(()))
                    .await?;
                Ok(())
            }
        }
    }

    /// Decodes after `ids`, of which the session holds all but the last. Time from the first token to the last, and the
    /// tokens after the first: while they are counted, the steps after them are under way, as they are in a long answer.
    async fn decode_run(&mut self, engine: &mut Engine, ids: &[u32]) -> Result<(f64, usize)> {
        let options = GenerateOptions {
            max_tokens: decode_room(self.options.tokens),
            ..Default::default()
        };
        let (wanted, budget_ms) = (self.options.tokens.max(1), self.options.budget_ms);
        let counter = engine.model.gpu.counter();
        let mut first = None;
        let mut last = (0.0, Counts::default(), 0);
        let on_event = &mut |event| {
            if !matches!(event, Event::Token(_)) {
                return ControlFlow::Continue(());
            }
            let (began, before) = match first {
                Some(first) => first,
                None => {
                    first = Some((Instant::now(), counter.now()));
                    return ControlFlow::Continue(());
                }
            };
            last = (milliseconds(began), counter.now().since(before), last.2 + 1);
            match last.2 == wanted || last.0 > budget_ms {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        engine.generate(&mut self.session, ids, &options, on_event).await?;
        let (ms, counts, tokens) = last;
        self.counts = self.counts.plus(counts);
        self.counted_tokens += tokens as u64;
        Ok((ms, tokens))
    }

    async fn prefill(&mut self, engine: &mut Engine, prompt: usize, stream: &Stream) -> Result<()> {
        let what = format!("prefill of {prompt} tokens, {}", stream.name);
        let ids = stream.take(prompt);
        let (mut tokens_per_s, mut fewest_tokens) = (Vec::new(), prompt);
        self.session.cache.reserve(&engine.model, prompt + 1).await?;
        let began = Instant::now();
        while self.runs_again(&what, tokens_per_s.len(), began) {
            let (ms, tokens) = self.prefill_run(engine, &ids).await?;
            tokens_per_s.push(tokens as f64 / ms * 1e3);
            fewest_tokens = fewest_tokens.min(tokens);
        }
        if let Some(tokens_per_s) = Spread::of(tokens_per_s) {
            let chunk = engine.model.plan.chunk_tokens;
            let last_pass = match fewest_tokens == prompt {
                true => (prompt - 1) % chunk + 1,
                false => chunk,
            };
            self.report.prefill.push(PrefillFigure {
                prompt_tokens: prompt,
                stream: stream.name.clone(),
                measured_tokens: fewest_tokens,
                tokens_per_s,
                experts_used: engine.experts_used(last_pass).await?,
                experts_used_by_tokens: last_pass,
            });
        }
        Ok(())
    }

    /// Computes `ids` in an empty session, up to the first token; until time runs out, at a border of chunks. Time and
    /// tokens.
    async fn prefill_run(&mut self, engine: &mut Engine, ids: &[u32]) -> Result<(f64, usize)> {
        let options = GenerateOptions {
            max_tokens: 1,
            run_ahead: 0,
            ..Default::default()
        };
        self.session.tokens.clear();
        let (budget_ms, progress) = (self.options.budget_ms, &self.progress);
        let (on_progress, aborted) = (&mut self.on_progress, &mut self.report.aborted);
        let began = Instant::now();
        let on_event = &mut |event| {
            if matches!(event, Event::Prompt { .. }) {
                *aborted |= on_progress(progress).is_break();
                if *aborted || milliseconds(began) > budget_ms {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        engine.generate(&mut self.session, ids, &options, on_event).await?;
        Ok((milliseconds(began), self.session.tokens.len()))
    }

    /// Times the kernels of decode steps, and of one pass of prefill as long as the budget allows.
    async fn profile(&mut self, engine: &mut Engine, context: usize) -> Result<()> {
        self.progress.now = "timing each kernel".into();
        if !self.goes_on() {
            return Ok(());
        }
        // Where a step takes seconds, one has to do.
        let slow = self
            .report
            .decode
            .iter()
            .any(|figure| figure.ms_per_token.median > 1_000.0);
        let steps = if slow { 1 } else { PROFILED_TOKENS };
        let ids = self.options.streams[0].take(context + 1);
        self.hold(engine, &ids[..context]).await?;
        let decode = self.profiled(engine, &ids, steps).await?;

        let longest = engine.model.plan.chunk_tokens.min(engine.model.plan.context_length - 1);
        let prefill_tokens = match self.report.prefill.first() {
            Some(figure) => ((figure.tokens_per_s.median * self.options.budget_ms / 1e3) as usize).clamp(1, longest),
            None => longest,
        };
        let ids = self.options.streams[0].take(prefill_tokens);
        self.session.tokens.clear();
        let prefill = self.profiled(engine, &ids, 1).await?;

        let reads = token_reads(engine.config(), self.report.kv, context);
        let decode = decode.iter().map(|time| {
            let bytes = (reads.iter().find(|reads| reads.kernel == time.kernel))
                .map(|reads| reads.weight_bytes + reads.kv_bytes);
            KernelProfile::of(time, steps, bytes)
        });
        self.report.profile = Some(Profile {
            decode: by_time(decode.collect()),
            decode_context: context,
            prefill: by_time(prefill.iter().map(|time| KernelProfile::of(time, 1, None)).collect()),
            prefill_tokens,
        });
        Ok(())
    }

    /// Continues `ids` for so many tokens, timing every kernel.
    async fn profiled(&mut self, engine: &mut Engine, ids: &[u32], max_tokens: usize) -> Result<Vec<KernelTime>> {
        let options = GenerateOptions {
            max_tokens,
            run_ahead: 0,
            ..Default::default()
        };
        engine.model.gpu.start_profile()?;
        let generated = engine
            .generate(&mut self.session, ids, &options, &mut |_| ControlFlow::Continue(()))
            .await;
        let times = engine.model.gpu.finish_profile().await;
        generated?;
        Ok(times?)
    }
}

impl Engine {
    /// Different experts that the pass just run used in a layer, on average over the layers that have any.
    async fn experts_used(&self, count: usize) -> Result<f64> {
        let layers = self.config().layers.len();
        let mut trace = LogitsTrace {
            experts: vec![vec![]; layers],
            weights: vec![vec![]; layers],
            ..Default::default()
        };
        self.read_choices(count, &mut trace).await?;
        let used: Vec<usize> = (trace.experts.iter().filter(|chosen| !chosen.is_empty()))
            .map(|chosen| chosen.iter().collect::<BTreeSet<_>>().len())
            .collect();
        Ok(used.iter().sum::<usize>() as f64 / used.len().max(1) as f64)
    }
}

impl Stream {
    fn take(&self, count: usize) -> Vec<u32> {
        self.ids.iter().copied().cycle().take(count).collect()
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
