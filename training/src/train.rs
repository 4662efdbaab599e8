//! The training loop: the same for every stage.

use std::{
    cmp::Ordering,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    model::{Batch, Layout, Outcome, Pass},
    optimizer::quantized,
    stage::{HELD_OUT, STAGES, Stage, held_out},
    state::State,
    vocabulary::Vocabulary,
};

const CHECKPOINT_EVERY: Duration = Duration::from_secs(180);
/// A file of this name in a run's directory makes it save its state and stop.
const STOP_FILE: &str = "stop";
/// Steps between lines of the log.
const LOG_STEPS: u64 = 20;
/// Steps until the learning rate is at its highest.
const WARM_UP_STEPS: f32 = 60.0;
/// How far an expert's bias moves in a step at the highest learning rate: up if it got less than its share, else down.
const BIAS_RATE: f32 = 0.002;

/// How a run is made.
pub struct Options {
    /// Where states and logs lie.
    pub dir: PathBuf,
    pub budgets: [Budget; STAGES.len()],
    /// Highest learning rate.
    pub rate: f32,
    /// Tokens of a step, on each thread.
    pub batch_tokens: usize,
    pub threads: usize,
    /// Held-out tokens of each kind that perplexity is measured on.
    pub held_out_tokens: usize,
}

/// When a stage ends. The learning rate falls towards that end.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    Steps(u64),
    Minutes(f64),
}

impl Budget {
    fn spent(self, step: u64, seconds: f64) -> f64 {
        match self {
            Budget::Steps(steps) => step as f64 / steps.max(1) as f64,
            Budget::Minutes(minutes) => seconds / (60.0 * minutes).max(1e-9),
        }
    }
}

/// A line of a stage's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogLine {
    pub step: u64,
    pub seconds: f64,
    /// Mean of -ln p over the learned tokens since the last line.
    pub loss: f64,
    pub rate: f32,
    pub gradient_norm: f32,
    pub tokens_per_second: f64,
    /// Busiest expert's tokens over the mean, of the most uneven layer.
    pub busiest: f64,
}

/// What a finished stage reached on held-out texts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageResult {
    pub stage: String,
    pub steps: u64,
    pub tokens: u64,
    pub minutes: f64,
    /// Perplexity by kind of text ([`HELD_OUT`]).
    pub perplexity: [f64; HELD_OUT.len()],
}

pub fn state_file(dir: &Path) -> PathBuf {
    dir.join("state")
}

/// Runs what is left of all stages; goes on where the state in `options.dir` stands.
pub fn train(layout: &Layout, vocabulary: &Vocabulary, mut state: State, options: &Options) -> Result<State> {
    while let Some(stage) = STAGES.get(state.position.stage) {
        run_stage(layout, vocabulary, &mut state, stage, options)?;
        let result = StageResult {
            stage: stage.name.into(),
            steps: state.position.step,
            tokens: state.position.tokens,
            minutes: state.position.seconds / 60.0,
            perplexity: perplexities(layout, vocabulary, &state.weights, stage.quantized, options),
        };
        println!("{}", serde_json::to_string(&result)?);
        append(&options.dir.join("stages.jsonl"), &result)?;
        state.save(&options.dir.join(format!("after-{}", stage.name)))?;
        state.position.stage += 1;
        (state.position.step, state.position.tokens, state.position.seconds) = (0, 0, 0.0);
        state.save(&state_file(&options.dir))?;
    }
    Ok(state)
}

fn run_stage(
    layout: &Layout,
    vocabulary: &Vocabulary,
    state: &mut State,
    stage: &Stage,
    options: &Options,
) -> Result<()> {
    let log = options.dir.join(format!("{}.jsonl", stage.name));
    forget_after(&log, state.position.step)?;
    let budget = options.budgets[state.position.stage];
    let mut workers: Vec<Worker> = (0..options.threads)
        .map(|_| Worker::new(layout, stage.quantized))
        .collect();
    let seconds_before = state.position.seconds;
    let begin = Instant::now();
    let mut saved = Instant::now();
    let mut since = (Outcome::default(), Instant::now(), 0u64);
    loop {
        let spent = budget.spent(state.position.step, state.position.seconds);
        if spent >= 1.0 {
            return Ok(());
        }
        let (first, last) = stage.rate;
        let warm_up = (state.optimizer.steps as f32 / WARM_UP_STEPS).min(1.0);
        let relative = warm_up * (first + (last - first) * spent as f32);
        let rate = options.rate * relative;

        let seed = step_seed(state.position.seed, state.position.stage, state.position.step);
        let weights = match stage.quantized {
            true => quantized(layout, &state.weights, options.threads),
            false => Vec::new(),
        };
        let weights = if stage.quantized { &weights } else { &state.weights };
        let outcome = gradients(&mut workers, weights, |worker| {
            stage.batch(vocabulary, seed.wrapping_add(worker as u64), options.batch_tokens)
        });
        let sum = &workers[0].gradients;
        let norm = state
            .optimizer
            .step(layout, &mut state.weights, sum, rate, options.threads);
        balance(layout, &mut state.weights, &outcome, BIAS_RATE * relative);

        state.position.step += 1;
        state.position.tokens += (options.batch_tokens * options.threads) as u64;
        state.position.seconds = seconds_before + begin.elapsed().as_secs_f64();
        since.0.add(&outcome);
        since.2 += 1;
        if state.position.step.is_multiple_of(LOG_STEPS) {
            let (totals, time, steps) = std::mem::replace(&mut since, (Outcome::default(), Instant::now(), 0));
            let tokens = steps as f64 * (options.batch_tokens * options.threads) as f64;
            let line = LogLine {
                step: state.position.step,
                seconds: state.position.seconds,
                loss: totals.loss / totals.learned_tokens as f64,
                rate,
                gradient_norm: norm,
                tokens_per_second: tokens / time.elapsed().as_secs_f64(),
                busiest: busiest(&totals.expert_tokens),
            };
            append(&log, &line)?;
            let left = state.position.seconds * (1.0 / budget.spent(line.step, line.seconds) - 1.0);
            println!(
                "{} step {}  loss {:.3}  {:.0} tokens/s  busiest expert {:.1}x  rate {rate:.1e}  norm {norm:.2}  {:.0} min left",
                stage.name,
                line.step,
                line.loss,
                line.tokens_per_second,
                line.busiest,
                left.max(0.0) / 60.0
            );
        }
        let stop = options.dir.join(STOP_FILE);
        let stopping = stop.exists();
        if stopping || saved.elapsed() > CHECKPOINT_EVERY {
            state.save(&state_file(&options.dir))?;
            saved = Instant::now();
        }
        if stopping {
            fs::remove_file(&stop)?;
            bail!(
                "stopped at step {} of {}, to go on from there",
                state.position.step,
                stage.name
            );
        }
    }
}

/// One thread's part of a step.
struct Worker<'a> {
    pass: Pass<'a>,
    batch: Batch,
    gradients: Vec<f32>,
    outcome: Outcome,
}

impl<'a> Worker<'a> {
    fn new(layout: &'a Layout, int8: bool) -> Worker<'a> {
        let mut pass = Pass::new(layout);
        pass.int8 = int8;
        Worker {
            pass,
            batch: Batch::default(),
            gradients: vec![0.0; layout.len],
            outcome: Outcome::default(),
        }
    }
}

/// Mean gradient over the workers' batches, left in the first one's. Summed in their order: the same on every run.
fn gradients(workers: &mut [Worker], weights: &[f32], batch: impl Fn(usize) -> Batch + Sync) -> Outcome {
    let batch = &batch;
    std::thread::scope(|scope| {
        for (i, worker) in workers.iter_mut().enumerate() {
            scope.spawn(move || worker.batch = batch(i));
        }
    });
    let learned: usize = workers.iter().map(|worker| worker.batch.learned_tokens()).sum();
    let scale = 1.0 / learned.max(1) as f32;
    std::thread::scope(|scope| {
        for worker in workers.iter_mut() {
            scope.spawn(move || {
                worker.gradients.fill(0.0);
                worker.outcome = worker
                    .pass
                    .gradients(weights, &worker.batch, scale, &mut worker.gradients);
            });
        }
    });
    let mut outcome = Outcome::default();
    workers.iter().for_each(|worker| outcome.add(&worker.outcome));
    let (first, others) = workers.split_at_mut(1);
    for other in others {
        first[0]
            .gradients
            .iter_mut()
            .zip(&other.gradients)
            .for_each(|(sum, gradient)| *sum += gradient);
    }
    outcome
}

/// Balancing without a loss (DeepSeek-V3): the bias of an expert that got fewer tokens than the mean goes up by `step`,
/// of one that got more down.
fn balance(layout: &Layout, weights: &mut [f32], outcome: &Outcome, step: f32) {
    for (layer, tokens) in layout.layers.iter().zip(&outcome.expert_tokens) {
        let total: usize = tokens.iter().sum();
        for (bias, &count) in weights[layer.bias.clone()].iter_mut().zip(tokens) {
            *bias += match (count * tokens.len()).cmp(&total) {
                Ordering::Less => step,
                Ordering::Equal => 0.0,
                Ordering::Greater => -step,
            };
        }
    }
}

/// Largest share of an expert over the mean share, in the layer where that is largest.
pub fn busiest(expert_tokens: &[Vec<usize>]) -> f64 {
    let of_layer = |tokens: &Vec<usize>| {
        let (most, total) = (tokens.iter().max().copied().unwrap_or(0), tokens.iter().sum::<usize>());
        (most * tokens.len()) as f64 / total.max(1) as f64
    };
    expert_tokens.iter().map(of_layer).fold(0.0, f64::max)
}

/// Perplexity of held-out texts by kind, as the stage computes.
pub fn perplexities(
    layout: &Layout,
    vocabulary: &Vocabulary,
    weights: &[f32],
    int4: bool,
    options: &Options,
) -> [f64; HELD_OUT.len()] {
    let stored = if int4 {
        quantized(layout, weights, options.threads)
    } else {
        weights.to_vec()
    };
    std::array::from_fn(|kind| {
        let batches = held_out(kind, vocabulary, options.held_out_tokens);
        let mut passes: Vec<Outcome> = Vec::new();
        std::thread::scope(|scope| {
            let stored = &stored;
            let parts: Vec<_> = batches.chunks(batches.len().div_ceil(options.threads)).collect();
            let threads: Vec<_> = parts
                .into_iter()
                .map(|batches| {
                    scope.spawn(move || {
                        let mut pass = Pass::new(layout);
                        pass.int8 = int4;
                        batches.iter().map(|batch| pass.loss(stored, batch)).collect::<Vec<_>>()
                    })
                })
                .collect();
            for thread in threads {
                passes.extend(thread.join().unwrap_or_default());
            }
        });
        let mut sum = Outcome::default();
        passes.iter().for_each(|outcome| sum.add(outcome));
        (sum.loss / sum.learned_tokens.max(1) as f64).exp()
    })
}

fn step_seed(seed: u64, stage: usize, step: u64) -> u64 {
    // Far enough apart for a seed a thread.
    (seed << 40) ^ ((stage as u64) << 36) ^ (step << 8)
}

fn append(path: &Path, line: &impl Serialize) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(writeln!(file, "{}", serde_json::to_string(line)?)?)
}

/// Drops lines of a log written after the state that training goes on from.
fn forget_after(log: &Path, step: u64) -> Result<()> {
    let lines: Vec<LogLine> = read_log(log)?;
    let mut kept = String::new();
    for line in lines.iter().filter(|line| line.step <= step) {
        kept += &(serde_json::to_string(line)? + "\n");
    }
    Ok(fs::write(log, kept)?)
}

/// A log's lines; none if there is no such file.
pub fn read_log<T: for<'a> Deserialize<'a>>(log: &Path) -> Result<Vec<T>> {
    if !log.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(log)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{QUICK, Shape};

    const TINY: Shape = Shape {
        hidden: 32,
        experts: 6,
        query_heads: 1,
        ..QUICK
    };

    fn run(name: &str, stop_first: bool) -> State {
        let dir = std::env::temp_dir().join(format!("mobilemoe-training-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let layout = Layout::new(TINY.config(false));
        let vocabulary = Vocabulary::learn(TINY.vocab, 1).unwrap();
        let options = Options {
            dir: dir.clone(),
            budgets: [Budget::Steps(3); STAGES.len()],
            rate: 1e-3,
            batch_tokens: 200,
            threads: 2,
            held_out_tokens: 100,
        };
        let mut state = State::new(&layout, TINY, 1);
        if stop_first {
            fs::write(dir.join(STOP_FILE), "").unwrap();
            assert!(train(&layout, &vocabulary, state, &options).is_err());
            state = State::load(&state_file(&dir), &layout, TINY).unwrap().unwrap();
            assert_eq!((state.position.stage, state.position.step), (0, 1));
        }
        let state = train(&layout, &vocabulary, state, &options).unwrap();
        fs::remove_dir_all(dir).unwrap();
        state
    }

    #[test]
    fn an_interrupted_run_ends_in_the_same_weights() {
        let (whole, interrupted) = (run("whole", false), run("interrupted", true));
        assert_eq!(whole.position.stage, STAGES.len());
        assert!(whole.weights == interrupted.weights && whole.optimizer.square == interrupted.optimizer.square);
        assert!(whole.weights.iter().all(|weight| weight.is_finite()));
    }

    #[test]
    fn the_bias_moves_towards_balance() {
        let layout = Layout::new(TINY.config(false));
        let mut weights = vec![0.0; layout.len];
        let outcome = Outcome {
            expert_tokens: vec![vec![9, 4, 4, 4, 0, 3]; layout.layers.len()],
            ..Outcome::default()
        };
        balance(&layout, &mut weights, &outcome, 0.5);
        assert_eq!(weights[layout.layers[0].bias.clone()], [-0.5, 0.0, 0.0, 0.0, 0.5, 0.5]);
        assert_eq!(busiest(&outcome.expert_tokens), 2.25);
    }
}
