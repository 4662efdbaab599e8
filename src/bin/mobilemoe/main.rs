//! `mobilemoe`: MobileMoE checkpoints on the command line.

mod bench;
mod generate;
mod inspect;
mod logits;
mod model;
mod quantize;
mod run;
mod score;
mod synth;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "mobilemoe", version, about = "Look at, make and run MobileMoE checkpoints.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Inspect(inspect::Inspect),
    Synth(synth::Synth),
    Quantize(quantize::Quantize),
    Run(run::Run),
    Logits(logits::Logits),
    Generate(generate::Generate),
    Score(score::Score),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Inspect(command) => command.run(),
        Command::Synth(command) => command.run(),
        Command::Quantize(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Logits(command) => command.run(),
        Command::Generate(command) => command.run(),
        Command::Score(command) => command.run(),
        Command::Bench(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
