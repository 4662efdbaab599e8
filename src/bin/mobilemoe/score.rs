//! `mobilemoe score`: how likely a continuation is, as JSON.

use clap::Args;
use mobilemoe_web::Result;
use pollster::block_on;
use serde_json::json;

use crate::{
    model::{Ids, ModelArgs},
    terminal::print,
};

/// Print the log-probabilities of a continuation: `logprobs`, `sum`, `is_greedy`.
#[derive(Args)]
pub struct Score {
    #[command(flatten)]
    model: ModelArgs,
    #[arg(long)]
    context_ids: Ids,
    #[arg(long)]
    continuation_ids: Ids,
}

impl Score {
    pub fn run(self) -> Result<()> {
        let mut engine = self.model.engine()?;
        let score = block_on(engine.score(&self.context_ids.0, &self.continuation_ids.0))?;
        let sum: f64 = score.logprobs.iter().map(|logprob| f64::from(*logprob)).sum();
        print(&format!(
            "{}\n",
            json!({"logprobs": score.logprobs, "sum": sum, "is_greedy": score.is_greedy})
        ))
    }
}
