//! `mobilemoe logits`: every logit of a prompt, as JSON.

use clap::Args;
use mobilemoe_web::{
    Result,
    engine::{LogitsTrace, RequestError},
    model::{Reference, ReferenceCache, Trace},
};
use pollster::block_on;
use serde_json::json;

use crate::{
    model::{Ids, ModelArgs},
    terminal::print,
};

/// Print a prompt's logits and routing as one JSON object.
///
/// `logits` [position][vocab], `experts` and `weights` [layer][position][k].
#[derive(Args)]
pub struct Logits {
    #[command(flatten)]
    model: ModelArgs,
    /// The prompt's token ids: 1,2,3
    #[arg(long)]
    ids: Ids,
    /// Compute on the CPU, in f32, with the kernels' twins; BF16 weights stay BF16
    #[arg(long)]
    reference: bool,
}

impl Logits {
    pub fn run(self) -> Result<()> {
        let ids = &self.ids.0;
        let (trace, vocab_size, chosen) = if self.reference {
            self.on_cpu()?
        } else {
            let mut engine = self.model.engine()?;
            let trace = block_on(engine.logits(ids, true))?;
            (trace, engine.config().vocab_size, engine.config().experts_per_token)
        };
        let chosen = chosen.max(1); // a dense model chooses none
        let positions = |values: &Vec<f32>| values.chunks(chosen).map(<[f32]>::to_vec).collect::<Vec<_>>();
        print(&format!(
            "{}\n",
            json!({
                "ids": ids,
                "logits": trace.logits.chunks(vocab_size).collect::<Vec<_>>(),
                "experts": trace.experts.iter().map(|layer| layer.chunks(chosen).collect()).collect::<Vec<Vec<_>>>(),
                "weights": trace.weights.iter().map(positions).collect::<Vec<_>>(),
            })
        ))
    }

    fn on_cpu(&self) -> Result<(LogitsTrace, usize, usize)> {
        let ids = &self.ids.0;
        let checkpoint = self.model.checkpoint()?;
        let vocab_size = checkpoint.config().vocab_size;
        if let Some((index, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab_size) {
            return Err(RequestError::TokenOutOfRange {
                index,
                id: *id,
                vocab_size,
            }
            .into());
        }
        let reference = block_on(Reference::load(&checkpoint, false))?;
        let mut choices = Trace::default();
        let x = reference.forward(&mut ReferenceCache::default(), ids, Some(&mut choices));
        let trace = LogitsTrace {
            logits: reference.logits(&x),
            experts: choices
                .choices
                .iter()
                .map(|layer| layer.iter().map(|choice| choice.expert).collect())
                .collect(),
            weights: choices
                .choices
                .iter()
                .map(|layer| layer.iter().map(|choice| choice.weight).collect())
                .collect(),
        };
        Ok((trace, vocab_size, reference.config.experts_per_token))
    }
}
