//! `mobilemoe bench`: how fast models run here.

mod table;

use std::{ops::ControlFlow, path::PathBuf, time::Instant};

use clap::{Args, ValueEnum};
use mobilemoe_web::{
    Error, Result,
    checkpoint::{
        Checkpoint, CheckpointError, DirectoryRepository, Repository,
        synth::{SHAPES, Shape, Synth},
    },
    engine::bench::{BenchOptions, BenchReport, Fill, streams},
    text::Text,
};
use pollster::block_on;
use serde_json::{Value, json};

use crate::{
    model::EngineArgs,
    terminal::{print, steps_bar},
};

/// Measure prefill, decode, and what a token costs.
///
/// Of several models the first is compared with the others, on the same GPU in one run. Figures are medians of the runs;
/// prefill counts from the call to the first token. Decoding begins after a cache of random keys and values, unless --fill
/// prompt.
#[derive(Args)]
pub struct Bench {
    /// Directories of checkpoints, or shapes to make in memory with random weights: tiny, mini, S, M, L, pro
    #[arg(required = true)]
    models: Vec<Model>,
    /// Prompt lengths in tokens
    #[arg(long, value_delimiter = ',', default_value = "128,512,1024,2048")]
    prompts: Vec<usize>,
    /// Tokens in the cache when decoding begins
    #[arg(long, value_delimiter = ',', default_value = "256,1024,4096,8192")]
    contexts: Vec<usize>,
    /// What prompts are made of: varied text, or one short chat over and over
    #[arg(long, value_enum, value_delimiter = ',', default_value = "realistic,templated")]
    streams: Vec<StreamName>,
    /// How the cache is filled before decoding
    #[arg(long, value_enum, default_value_t = FillName::Random)]
    fill: FillName,
    /// Runs of each measurement
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Tokens to decode in a run
    #[arg(long, default_value_t = 32)]
    tokens: usize,
    /// Most seconds for a measurement's runs: fewer runs, or part of a long prompt, where that is not enough
    #[arg(long, default_value_t = 20.0)]
    budget: f64,
    /// Do not time each kernel
    #[arg(long)]
    no_profile: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What a model argument names.
#[derive(Clone)]
enum Model {
    Directory(PathBuf),
    Shape(&'static str, Shape),
}

impl std::str::FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Model, String> {
        let known = SHAPES.iter().find(|(known, _)| *known == name);
        match known {
            _ if std::path::Path::new(name).is_dir() => Ok(Model::Directory(name.into())),
            Some((name, shape)) => Ok(Model::Shape(name, *shape)),
            None => Err(format!(
                "it is neither a directory nor one of {}",
                SHAPES.map(|(name, _)| name).join(", ")
            )),
        }
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum StreamName {
    Realistic,
    Templated,
}

#[derive(Clone, Copy, ValueEnum)]
enum FillName {
    Random,
    Prompt,
}

/// Varied text, for the realistic stream.
const PROSE: &str = include_str!("../../../../www/bench.txt");

/// A model's figures.
struct Measured {
    name: String,
    load_ms: f64,
    experts: usize,
    report: BenchReport,
}

impl Bench {
    pub fn run(self) -> Result<()> {
        let mut all = Vec::new();
        for model in &self.models {
            let measured = match model {
                Model::Directory(path) => {
                    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                    self.measure(&name, DirectoryRepository::new(path))?
                }
                Model::Shape(name, shape) => self.measure(name, Synth::new(*shape).repository()?)?,
            };
            if !self.json {
                print(&table::of(&measured))?;
            }
            all.push(measured);
        }
        if self.json {
            print(&format!("{:#}\n", json(&all)))
        } else {
            all[1..]
                .iter()
                .try_for_each(|other| print(&table::comparison(&all[0], other)))
        }
    }

    /// Loads a model, measures it, and frees it again.
    fn measure<R: Repository>(&self, name: &str, repository: R) -> Result<Measured> {
        let checkpoint = block_on(Checkpoint::open(repository))?;
        let text = match block_on(Text::open(checkpoint.repository())) {
            Ok(text) => Some(text),
            Err(Error::Checkpoint(CheckpointError::MissingFile { .. })) => None,
            Err(error) => return Err(error),
        };
        let mut streams = streams(text.as_ref(), checkpoint.config().vocab_size, Some(PROSE))?;
        streams.retain(|stream| self.streams.iter().any(|name| name.is(&stream.name)));
        drop(text);

        let began = Instant::now();
        let mut engine = self.engine.load(&checkpoint)?;
        let load_ms = began.elapsed().as_secs_f64() * 1e3;
        let options = BenchOptions {
            prompts: self.prompts.clone(),
            contexts: self.contexts.clone(),
            streams,
            fill: match self.fill {
                FillName::Random => Fill::Random,
                FillName::Prompt => Fill::Prompt,
            },
            repeats: self.repeats,
            tokens: self.tokens,
            budget_ms: self.budget * 1e3,
            profile: !self.no_profile,
        };
        let bar = steps_bar(0);
        let report = block_on(engine.bench(&options, &mut |progress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(format!("{name}: {}", progress.now));
            ControlFlow::Continue(())
        }))?;
        bar.finish_and_clear();
        Ok(Measured {
            name: name.into(),
            load_ms,
            experts: engine.config().experts,
            report,
        })
    }
}

impl StreamName {
    fn is(self, name: &str) -> bool {
        self.to_possible_value().is_some_and(|value| value.matches(name, false))
    }
}

/// One model's object; of several an object with theirs and with how the first compares.
fn json(all: &[Measured]) -> Value {
    let objects: Vec<Value> = all.iter().map(Measured::json).collect();
    match &objects[..] {
        [only] => only.clone(),
        _ => json!({
            "models": objects,
            "speedups": all[1..].iter().map(|other| json!({
                "of": all[0].name,
                "over": other.name,
                "figures": speedups(&all[0], other)
                    .into_iter()
                    .map(|(figure, ratio)| json!({"figure": figure, "ratio": ratio}))
                    .collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        }),
    }
}

impl Measured {
    fn json(&self) -> Value {
        let mut object = serde_json::to_value(&self.report).expect("plain numbers and strings");
        object["shape"] = self.name.as_str().into();
        object["load_ms"] = self.load_ms.into();
        object
    }
}

/// How many times as fast the first is as the other, figure by figure that both have.
fn speedups(first: &Measured, other: &Measured) -> Vec<(String, f64)> {
    let decode = first.report.decode.iter().filter_map(|ours| {
        let theirs = (other.report.decode.iter()).find(|theirs| theirs.context == ours.context)?;
        let ratio = theirs.ms_per_token.median / ours.ms_per_token.median;
        Some((format!("decode after {}", ours.context), ratio))
    });
    let prefill = first.report.prefill.iter().filter_map(|ours| {
        let theirs = (other.report.prefill.iter())
            .find(|theirs| (theirs.prompt_tokens, &theirs.stream) == (ours.prompt_tokens, &ours.stream))?;
        let ratio = ours.tokens_per_s.median / theirs.tokens_per_s.median;
        Some((format!("prefill of {}, {}", ours.prompt_tokens, ours.stream), ratio))
    });
    decode.chain(prefill).collect()
}
