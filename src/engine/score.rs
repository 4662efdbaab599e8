//! Logits and log-probabilities of given tokens.

use super::{Engine, Session};
use crate::{
    Result,
    kernels::{Choice, Step, logprob::Scored},
    model::Model,
};

/// Logits of a prompt, and which experts it took.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogitsTrace {
    /// `[positions, vocab]`, or `[1, vocab]` of the last position.
    pub logits: Vec<f32>,
    /// `[layers][positions, experts_per_token]`, by falling score; empty for a dense layer.
    pub experts: Vec<Vec<u32>>,
    /// What each expert's output was multiplied by, shaped as `experts`.
    pub weights: Vec<Vec<f32>>,
}

/// A continuation's probability under the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Natural log-probability of each continuation token, given all before it.
    pub logprobs: Vec<f32>,
    /// Greedy decoding would have produced the continuation.
    pub is_greedy: bool,
}

/// A continuation being scored, a chunk at a time ([`Engine::score_chunk`]).
pub struct Scoring {
    session: Session,
    /// Context and continuation.
    ids: Vec<u32>,
    context_tokens: usize,
    score: Score,
}

impl Engine {
    /// Logits after each of `ids` (or after the last), read back to the host: for checks, not for chats.
    pub async fn logits(&mut self, ids: &[u32], all_positions: bool) -> Result<LogitsTrace> {
        self.check_ids(ids, 0)?;
        self.put_by();
        let model = &self.model;
        let mut session = Session::new(model).await?;
        let layers = model.config.layers.len();
        let mut trace = LogitsTrace {
            experts: vec![vec![]; layers],
            weights: vec![vec![]; layers],
            ..Default::default()
        };
        for chunk in ids.chunks(model.plan.chunk_tokens) {
            session.feed(model, chunk, None, |_| ()).await?;
            self.read_choices(chunk.len(), &mut trace).await?;
            let is_last = session.tokens.len() == ids.len();
            let first_row = if all_positions {
                0
            } else {
                chunk.len() - usize::from(is_last)
            };
            for row in (first_row..chunk.len()).step_by(model.plan.logits_rows) {
                let rows = model.plan.logits_rows.min(chunk.len() - row);
                submit_head(model, chunk.len(), row, rows, false);
                let logits: Vec<f32> = model.gpu.read(&model.scratch.logits).await?;
                trace
                    .logits
                    .extend_from_slice(&logits[..rows * model.config.vocab_size]);
            }
        }
        Ok(trace)
    }

    /// Log-probabilities of `continuation` after `context`, as evaluation harnesses ask for them.
    ///
    /// Errors: an empty context (there is nothing to predict the first token from), ids out of range, too many tokens.
    pub async fn score(&mut self, context: &[u32], continuation: &[u32]) -> Result<Score> {
        let mut scoring = self.begin_score(context, continuation).await?;
        loop {
            if let Some(score) = self.score_chunk(&mut scoring).await? {
                return Ok(score);
            }
        }
    }

    /// Begins what [`Engine::score`] does in one go.
    pub async fn begin_score(&self, context: &[u32], continuation: &[u32]) -> Result<Scoring> {
        self.check_ids(context, continuation.len())?;
        let ids = [context, continuation].concat();
        self.check_ids(&ids, 0)?;
        Ok(Scoring {
            session: Session::new(&self.model).await?,
            context_tokens: context.len(),
            ids,
            score: Score {
                logprobs: Vec::new(),
                is_greedy: true,
            },
        })
    }

    /// One chunk more; the score after the last one. Others may have their turn in between.
    pub async fn score_chunk(&mut self, scoring: &mut Scoring) -> Result<Option<Score>> {
        self.put_by();
        let model = &self.model;
        let Scoring {
            session, ids, score, ..
        } = scoring;
        // The last token predicts nothing that is asked for.
        let inputs = &ids[..ids.len() - 1];
        let before = session.tokens.len();
        let end = inputs.len().min(before + model.plan.chunk_tokens);
        let chunk = &inputs[before..end];
        if chunk.is_empty() {
            return Ok(Some(score.clone()));
        }
        session.feed(model, chunk, None, |_| ()).await?;
        let first_row = (scoring.context_tokens - 1).saturating_sub(before).min(chunk.len());
        for row in (first_row..chunk.len()).step_by(model.plan.logits_rows) {
            let rows = model.plan.logits_rows.min(chunk.len() - row);
            let targets = &ids[before + row + 1..][..rows];
            model
                .gpu
                .write(&model.scratch.targets, 0, bytemuck::cast_slice(targets));
            submit_head(model, chunk.len(), row, rows, true);
            let scored: Vec<Scored> = model.gpu.read(&model.scratch.scored).await?;
            for row in scored.chunks_exact(2).take(rows) {
                score.logprobs.push(row[0].logprob);
                score.is_greedy &= row[1].id == row[0].id;
            }
        }
        if first_row == chunk.len() {
            // Nothing was read back that would have waited for the GPU.
            model.gpu.idle().await?;
        }
        Ok((end == inputs.len()).then(|| score.clone()))
    }

    /// The experts that the pass just run chose for its `count` tokens.
    pub(super) async fn read_choices(&self, count: usize, trace: &mut LogitsTrace) -> Result<()> {
        let model = &self.model;
        let choices: Vec<Choice> = model.gpu.read(&model.scratch.choices).await?;
        for (i, _) in model.config.layers.iter().enumerate().filter(|(_, layer)| layer.moe) {
            let first = model.choices_offset_bytes(i) as usize / size_of::<Choice>();
            for choice in &choices[first..][..count * model.config.experts_per_token] {
                trace.experts[i].push(choice.expert);
                trace.weights[i].push(choice.weight);
            }
        }
        Ok(())
    }
}

/// The LM head over rows of the pass just run, and their scores if wanted.
fn submit_head(model: &Model, count: usize, row: usize, rows: usize, score: bool) {
    let step = Step {
        position: 0,
        count: count as u32,
        head_row: row as u32,
        head_rows: rows as u32,
    };
    model.submit(Some(step), None, |pass| {
        model.head(pass, rows);
        if score {
            model.logprob(pass, rows);
        }
    });
}
