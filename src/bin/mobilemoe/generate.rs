//! `mobilemoe generate`: ids in, ids out, as JSON.

use std::ops::ControlFlow;

use clap::Args;
use mobilemoe_web::{
    Result,
    engine::{Engine, Event, GenerateOptions, Generation},
    kernels::sample::Sampling,
};
use pollster::block_on;

use crate::{
    model::{Ids, ModelArgs},
    terminal::print,
};

/// Continue token ids; print the result as one JSON object (`tokens`, `finish`, timings).
#[derive(Args)]
pub struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    /// The prompt's token ids: 1,2,3
    #[arg(long)]
    ids: Ids,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Token ids that end the text: 1,2,3
    #[arg(long)]
    stop_ids: Option<Ids>,
}

/// How tokens are chosen, and how many.
#[derive(Args)]
pub struct SamplingArgs {
    #[arg(long, default_value_t = 256)]
    pub max_tokens: usize,
    /// 0: always the most likely token
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// Keep the k most likely tokens; 0: all
    #[arg(long, default_value_t = 0)]
    pub top_k: u32,
    /// Keep the most likely tokens that together reach this probability
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f32,
    /// Keep tokens at least this probable relative to the most likely one
    #[arg(long, default_value_t = 0.0)]
    pub min_p: f32,
    /// Decides every draw
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl SamplingArgs {
    pub fn options(&self, stop_token_ids: Vec<u32>) -> GenerateOptions {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            seed: [self.seed as u32, (self.seed >> 32) as u32],
        };
        GenerateOptions {
            max_tokens: self.max_tokens,
            sampling,
            stop_token_ids,
            ..Default::default()
        }
    }
}

impl Generate {
    pub fn run(self) -> Result<()> {
        let mut engine = self.model.engine()?;
        let options = self
            .sampling
            .options(self.stop_ids.map(|ids| ids.0).unwrap_or_default());
        let generation = generate(&mut engine, &self.ids.0, &options, &mut |_| Ok(()))?;
        print(&format!(
            "{}\n",
            serde_json::to_value(generation).expect("plain numbers and strings")
        ))
    }
}

/// One answer in a session of its own; `on_token` sees every token as it comes, and ends the answer by failing.
pub fn generate(
    engine: &mut Engine,
    ids: &[u32],
    options: &GenerateOptions,
    on_token: &mut dyn FnMut(u32) -> Result<()>,
) -> Result<Generation> {
    let mut shown = Ok(());
    let generation = block_on(async {
        let mut session = engine.session().await?;
        let on_event = &mut |event| {
            if let Event::Token(id) = event {
                shown = on_token(id);
            }
            if shown.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        engine.generate(&mut session, ids, options, on_event).await
    });
    shown.and(generation)
}
