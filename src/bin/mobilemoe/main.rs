//! `mobilemoe`: MobileMoE checkpoints on the command line.

mod inspect;
mod quantize;
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
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Inspect(command) => command.run(),
        Command::Synth(command) => command.run(),
        Command::Quantize(command) => command.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
