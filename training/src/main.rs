//! Trains models/pocket: a MobileMoE small enough to ship, through the paper's four stages, on a corpus this program makes.

mod corpus;
mod export;
mod measure;
mod model;
mod optimizer;
mod plot;
mod shape;
mod stage;
mod state;
mod train;
mod vocabulary;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::{
    measure::Subject,
    model::Layout,
    shape::{POCKET, QUICK},
    stage::{HELD_OUT, STAGES},
    state::State,
    train::{Budget, Options, perplexities, state_file, train},
    vocabulary::Vocabulary,
};

/// Train the pocket model: pre-training, mid-training, supervised fine-tuning, quantization-aware training.
///
/// Stopped at any time, it goes on where it was when started again.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// All stages in a few minutes at a tiny size: a test of the pipeline
    #[arg(long)]
    quick: bool,
    /// Where states and logs are kept [default: ~/.cache/mobilemoe-web/training/pocket, or quick]
    #[arg(long)]
    run_dir: Option<PathBuf>,
    /// Where the checkpoint goes [default: models/pocket, or RUN_DIR/model if quick]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Minutes of each stage, or of all together [default: 85, or 2 if quick]
    #[arg(long, value_delimiter = ',')]
    minutes: Option<Vec<f64>>,
    /// Steps of each stage instead: then a run does not depend on the machine's speed
    #[arg(long, value_delimiter = ',')]
    steps: Option<Vec<u64>>,
    /// Highest learning rate
    #[arg(long, default_value_t = 4e-3)]
    rate: f32,
    /// Tokens of a step, on each thread
    #[arg(long, default_value_t = 1024)]
    batch_tokens: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Show texts of the corpus
    Corpus {
        #[arg(long, default_value_t = 10)]
        count: usize,
    },
    /// Write a checkpoint of a state that training left in its directory: `state`, or `after-STAGE`
    Export {
        state: PathBuf,
        out: PathBuf,
        /// BF16 instead of INT4
        #[arg(long)]
        bf16: bool,
    },
    /// Perplexity of held-out texts for states that training left: `after-STAGE`
    Perplexity {
        states: Vec<PathBuf>,
        /// With INT4 weights and INT8 activations
        #[arg(long)]
        quantized: bool,
    },
    /// Print held-out conversations as token ids, with the CPU reference's loss: one JSON object a line
    HeldOut {
        #[arg(default_value = "models/pocket")]
        checkpoint: PathBuf,
        #[arg(long, default_value_t = 20)]
        conversations: usize,
    },
    /// Measure a checkpoint on held-out texts through the engine; prints Markdown
    Measure {
        #[arg(default_value = "models/pocket")]
        checkpoint: PathBuf,
        /// Questions of each skill
        #[arg(long, default_value_t = 50)]
        questions: u32,
        /// Wrong answers of each skill to show
        #[arg(long, default_value_t = 0)]
        wrong: usize,
        /// Stories at temperature 0.7
        #[arg(long, default_value_t = 20)]
        stories: u64,
        /// Conversations to measure perplexity and the experts' use on
        #[arg(long, default_value_t = 100)]
        conversations: usize,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.command {
        None => run(&arguments),
        Some(Command::Corpus { count }) => {
            show_corpus(*count, arguments.seed);
            Ok(())
        }
        Some(Command::Export { state, out, bf16 }) => {
            let (layout, vocabulary, weights) = open_state(state, arguments.seed)?;
            let shape = State::shape(state)?;
            export::write(out, &export::files(&layout, shape, &vocabulary, &weights, !bf16))
        }
        Some(Command::Perplexity { states, quantized }) => {
            for file in states {
                let (layout, vocabulary, weights) = open_state(file, arguments.seed)?;
                let options = options(&arguments, PathBuf::new())?;
                let found = perplexities(&layout, &vocabulary, &weights, *quantized, &options);
                let found: Vec<_> = HELD_OUT
                    .iter()
                    .zip(found)
                    .map(|(kind, value)| format!("{kind} {value:.4}"))
                    .collect();
                println!("{}: {}", file.display(), found.join(", "));
            }
            Ok(())
        }
        Some(Command::HeldOut {
            checkpoint,
            conversations,
        }) => measure::print_held_out(checkpoint, *conversations),
        Some(Command::Measure {
            checkpoint,
            questions,
            wrong,
            stories,
            conversations,
        }) => {
            let mut subject = Subject::open(checkpoint)?;
            println!("On {}.\n", subject.adapter());
            if *conversations > 0 {
                println!("{}", subject.held_out(*conversations)?);
            }
            if *questions > 0 {
                println!("{}", subject.quiz(*questions, *wrong)?);
            }
            println!("{}", subject.stories(*stories, 0.7)?);
            Ok(())
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let (shape, name) = if arguments.quick {
        (QUICK, "quick")
    } else {
        (POCKET, "pocket")
    };
    let dir = match &arguments.run_dir {
        Some(dir) => dir.clone(),
        None => default_dir(name)?,
    };
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let layout = Layout::new(shape.config(false));
    let vocabulary = vocabulary(&dir, shape.vocab, arguments.seed)?;
    let state = match State::load(&state_file(&dir), &layout, shape)? {
        Some(state) => state,
        None => State::new(&layout, shape, arguments.seed),
    };
    let options = options(arguments, dir)?;
    let state = train(&layout, &vocabulary, state, &options)?;

    let out = arguments.out.clone().unwrap_or_else(|| match arguments.quick {
        true => options.dir.join("model"),
        false => PathBuf::from("models/pocket"),
    });
    export::write(&out, &export::files(&layout, shape, &vocabulary, &state.weights, true))?;
    let logs: Vec<_> = STAGES
        .iter()
        .map(|stage| {
            Ok((
                stage.name,
                train::read_log(&options.dir.join(format!("{}.jsonl", stage.name)))?,
            ))
        })
        .collect::<Result<_>>()?;
    fs::write(out.join("loss.svg"), plot::loss_plot(&logs))?;
    let difference = measure::difference_from_reference(&out, &layout, &state.weights)?;
    println!(
        "{}: perplexity differs from the engine's reference by {:.4} %",
        out.display(),
        100.0 * difference
    );
    ensure!(difference < 0.005, "the checkpoint is not what was trained");
    Ok(())
}

fn options(arguments: &Arguments, dir: PathBuf) -> Result<Options> {
    Ok(Options {
        dir,
        budgets: budgets(arguments)?,
        rate: arguments.rate,
        batch_tokens: arguments.batch_tokens,
        threads: arguments.threads,
        held_out_tokens: if arguments.quick { 4_000 } else { 30_000 },
    })
}

/// The weights of a state and what they belong to.
fn open_state(file: &Path, seed: u64) -> Result<(Layout, Vocabulary, Vec<f32>)> {
    let shape = State::shape(file)?;
    let layout = Layout::new(shape.config(false));
    let dir = file.parent().context("a state lies in a run's directory")?;
    let vocabulary = vocabulary(dir, shape.vocab, seed)?;
    let weights = State::load(file, &layout, shape)?.context("no such state")?.weights;
    Ok((layout, vocabulary, weights))
}

fn budgets(arguments: &Arguments) -> Result<[Budget; STAGES.len()]> {
    const COUNT: usize = STAGES.len();
    if let Some(steps) = &arguments.steps {
        ensure!(steps.len() == COUNT, "--steps wants {COUNT} numbers, one a stage");
        return Ok(std::array::from_fn(|i| Budget::Steps(steps[i])));
    }
    let default = vec![if arguments.quick { 2.0 } else { 85.0 }];
    let minutes = arguments.minutes.as_ref().unwrap_or(&default);
    ensure!(
        minutes.len() == COUNT || minutes.len() == 1,
        "--minutes wants one number, or {COUNT}: one a stage"
    );
    Ok(std::array::from_fn(|i| {
        Budget::Minutes(
            minutes
                .get(i)
                .filter(|_| minutes.len() > 1)
                .copied()
                .unwrap_or(minutes[0] * STAGES[i].share),
        )
    }))
}

fn default_dir(name: &str) -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set: give --run-dir")?;
    Ok(PathBuf::from(home).join(".cache/mobilemoe-web/training").join(name))
}

/// The run's vocabulary, learned when it first starts.
fn vocabulary(dir: &Path, size: usize, seed: u64) -> Result<Vocabulary> {
    const FILES: [&str; 3] = ["tokenizer.json", "tokenizer_config.json", "generation_config.json"];
    if FILES.iter().all(|file| dir.join(file).exists()) {
        let read = |file: &'static str| Ok((file, fs::read_to_string(dir.join(file))?));
        return Vocabulary::open(FILES.into_iter().map(read).collect::<Result<_>>()?);
    }
    let vocabulary = Vocabulary::learn(size, seed)?;
    for (file, content) in &vocabulary.files {
        fs::write(dir.join(file), content)?;
    }
    Ok(vocabulary)
}

fn show_corpus(count: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..count {
        println!("{}\n", corpus::story(&mut random, corpus::Split::Train));
        for turn in corpus::short_conversation(&mut random, corpus::Split::Train, true) {
            println!("> {}\n{}\n", turn.question, turn.answer);
        }
    }
}
