//! `mobilemoe synth`: a synthetic checkpoint on disk.

use std::path::PathBuf;

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use mobilemoe_web::{
    Result,
    checkpoint::{self, synth::SHAPES},
    config::WeightFormat,
};

use crate::terminal::{NewFiles, bytes_bar, print, thousands};

/// Make a checkpoint of random weights in exactly the published format.
#[derive(Args)]
pub struct Synth {
    /// The directory to make it in
    out: PathBuf,
    /// Which model's sizes
    #[arg(long, default_value = "tiny", value_parser = PossibleValuesParser::new(SHAPES.map(|(name, _)| name)))]
    shape: String,
    #[arg(long, value_enum, default_value_t = Format::Int4)]
    format: Format,
    /// Number of weight files
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    shards: u16,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    overrides: Overrides,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// mobilemoe-int4-g32, as the QAT checkpoints
    Int4,
    /// As the SFT and Base checkpoints
    Bf16,
}

/// Changes to the shape.
#[derive(Args)]
#[command(next_help_heading = "Changes to the shape")]
struct Overrides {
    #[arg(long)]
    hidden: Option<usize>,
    #[arg(long)]
    layers: Option<usize>,
    #[arg(long)]
    query_heads: Option<usize>,
    #[arg(long)]
    kv_heads: Option<usize>,
    /// 0: every layer is dense
    #[arg(long)]
    experts: Option<usize>,
    #[arg(long)]
    experts_per_token: Option<usize>,
    /// Width of one routed expert
    #[arg(long)]
    expert_size: Option<usize>,
    /// Width of the shared expert and of dense layers
    #[arg(long)]
    shared_size: Option<usize>,
    #[arg(long)]
    vocab: Option<usize>,
    /// Tokens that a query sees in all layers but every fourth; 0: all tokens
    #[arg(long)]
    window: Option<usize>,
    /// Layers without RoPE and QK-norm, such as 1,3
    #[arg(long, value_delimiter = ',')]
    no_rope_layers: Vec<usize>,
    /// Every how many layers one has routed experts
    #[arg(long, default_value_t = 1)]
    moe_step: usize,
    /// An LM head of its own instead of the embedding
    #[arg(long)]
    untied: bool,
}

impl Synth {
    pub fn run(self) -> Result<()> {
        let synth = self.synth();
        synth.config()?; // refused before anything is written
        let weight_bytes = synth.weight_bytes()?;
        let mut files = NewFiles::create(&self.out)?;
        let bar = bytes_bar("writing", weight_bytes);
        synth.write(&mut |file, bytes| {
            files.append(file, bytes)?;
            if file.ends_with(".safetensors") {
                bar.inc(bytes.len() as u64);
            }
            Ok(())
        })?;
        files.finish()?;
        bar.finish_and_clear();
        print(&format!(
            "{}: {} bytes of weights\n",
            self.out.display(),
            thousands(weight_bytes)
        ))
    }

    fn synth(&self) -> checkpoint::synth::Synth {
        let mut shape = SHAPES
            .into_iter()
            .find(|(name, _)| *name == self.shape)
            .map_or(SHAPES[0].1, |(_, shape)| shape);
        let changes = &self.overrides;
        for (size, change) in [
            (&mut shape.hidden, changes.hidden),
            (&mut shape.layers, changes.layers),
            (&mut shape.query_heads, changes.query_heads),
            (&mut shape.kv_heads, changes.kv_heads),
            (&mut shape.experts, changes.experts),
            (&mut shape.experts_per_token, changes.experts_per_token),
            (&mut shape.expert_size, changes.expert_size),
            (&mut shape.shared_size, changes.shared_size),
            (&mut shape.vocab, changes.vocab),
            (&mut shape.window, changes.window),
        ] {
            *size = change.unwrap_or(*size);
        }
        checkpoint::synth::Synth {
            format: match self.format {
                Format::Int4 => WeightFormat::Int4G32,
                Format::Bf16 => WeightFormat::Bf16,
            },
            seed: self.seed,
            shards: self.shards.into(),
            moe_step: changes.moe_step,
            no_rope_layers: changes.no_rope_layers.clone(),
            tied: !changes.untied,
            ..checkpoint::synth::Synth::new(shape)
        }
    }
}
