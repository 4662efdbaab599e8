//! What the commands that run a model share: arguments, loading with a progress bar, lists of ids.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mobilemoe_web::{
    Result,
    checkpoint::{Checkpoint, DirectoryRepository, Repository},
    engine::Engine,
    kernels::{Form, KvFormat, Variant},
    model::{ModelOptions, Stage},
};
use pollster::block_on;

use crate::terminal::bytes_bar;

/// A checkpoint and how to run it.
#[derive(Args)]
pub struct ModelArgs {
    /// A directory with config.json and safetensors files
    pub dir: PathBuf,
    #[command(flatten)]
    engine: EngineArgs,
}

/// How to run a checkpoint.
#[derive(Args)]
pub struct EngineArgs {
    /// How the KV cache stores its numbers
    #[arg(long, value_enum, default_value_t = Kv::F16)]
    pub kv: Kv,
    /// Longest prompt and answer together, in tokens [default: what the model was made for]
    #[arg(long)]
    pub context: Option<usize>,
    /// The form of the kernels: thread, workgroup, workgroup-packed-subgroups-tile8, ... [default: measured]
    #[arg(long)]
    pub variant: Option<Form>,
    /// Prompt tokens per submit
    #[arg(long, default_value_t = ModelOptions::default().chunk_tokens)]
    pub chunk: usize,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Kv {
    I8,
    F16,
    F32,
}

impl ModelArgs {
    pub fn checkpoint(&self) -> Result<Checkpoint<DirectoryRepository>> {
        block_on(Checkpoint::open(DirectoryRepository::new(&self.dir)))
    }

    /// The model on the GPU.
    pub fn engine(&self) -> Result<Engine> {
        self.engine.load(&self.checkpoint()?)
    }
}

impl EngineArgs {
    /// The checkpoint on the GPU.
    pub fn load<R: Repository>(&self, checkpoint: &Checkpoint<R>) -> Result<Engine> {
        let options = ModelOptions {
            context_length: self.context,
            chunk_tokens: self.chunk,
            kv: match self.kv {
                Kv::I8 => KvFormat::I8,
                Kv::F16 => KvFormat::F16,
                Kv::F32 => KvFormat::F32,
            },
            variant: self.variant.map(Variant::of),
            ..Default::default()
        };
        let bar = bytes_bar("loading", checkpoint.total_bytes());
        let engine = block_on(Engine::load(checkpoint, &options, &mut |stage, done, _| {
            if stage == Stage::Weights {
                bar.set_position(done);
            }
        }))?;
        bar.finish_and_clear();
        Ok(engine)
    }
}

/// Token ids as an argument: `1,2,3`.
#[derive(Clone)]
pub struct Ids(pub Vec<u32>);

impl std::str::FromStr for Ids {
    type Err = String;

    fn from_str(text: &str) -> Result<Ids, String> {
        let id = |id: &str| id.trim().parse().map_err(|_| format!("`{id}` is no token id"));
        text.split(',').map(id).collect::<Result<_, _>>().map(Ids)
    }
}
