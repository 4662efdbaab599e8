//! Sessions, generation and scoring on top of a [`Model`].

pub mod bench;
mod generate;
mod report;
mod score;
mod session;
mod steer;

use std::{ops::ControlFlow, rc::Rc};

use serde::Serialize;

pub use generate::{Event, Finish, GenerateOptions, Generation, Running};
pub use report::{MAX_TOP_LOGPROBS, Report};
pub use score::{LogitsTrace, Score, Scoring};
pub use session::Session;
pub use steer::Steering;

use crate::{
    ModelConfig, Result,
    checkpoint::{Checkpoint, Repository},
    gpu::GpuError,
    kernels::{KvFormat, Variant, adjust::Adjust, logprob::Logprob},
    model::{Model, ModelOptions, Plan, Progress, Remembered, Stage},
};

/// A request the engine cannot serve. Nothing is lost by it: the engine and its sessions go on.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the prompt is empty: there must be at least one token")]
    EmptyPrompt,
    #[error("token {index} of the prompt is {id}, but the vocabulary ends at {vocab_size}")]
    TokenOutOfRange { index: usize, id: u32, vocab_size: usize },
    #[error("{tokens} tokens do not fit into the context of {context_length}")]
    PromptTooLong { tokens: usize, context_length: usize },
    #[error("option {option} is {found}; it must be {expected}")]
    Option {
        option: &'static str,
        found: String,
        expected: &'static str,
    },
    #[error("expert {expert} of layer {layer} was chosen but is not on the GPU")]
    MissingExpert { layer: usize, expert: usize },
    #[error("the mask of the next token is unusable: {0}")]
    Mask(String),
}

impl RequestError {
    pub fn code(&self) -> &'static str {
        match self {
            RequestError::EmptyPrompt => "EmptyPrompt",
            RequestError::TokenOutOfRange { .. } => "TokenOutOfRange",
            RequestError::PromptTooLong { .. } => "PromptTooLong",
            RequestError::Option { .. } => "Option",
            RequestError::MissingExpert { .. } => "MissingExpert",
            RequestError::Mask(_) => "Mask",
        }
    }
}

/// Equal tokens choose the same experts: these fill a tile of 8 places, or two of 4, and one of the kind that is left for the last
/// four.
const WARM_UP_TOKENS: usize = 12;

/// A loaded model that answers requests. Generations can take turns step by step; all else is done in one go.
pub struct Engine {
    model: Model,
    /// Where the generation whose state the shared buffers hold keeps its next token while others have their turn.
    turn: Option<wgpu::Buffer>,
    /// Compiled when first used.
    adjust: Option<Rc<Adjust>>,
    likeliest: Option<Rc<Logprob>>,
}

/// What a loaded model is and takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineFacts {
    /// The GPU's name, as far as the browser or driver tells.
    pub adapter: String,
    /// "vulkan", "metal", "webgpu", ...
    pub backend: String,
    /// All weights on the GPU.
    pub weight_bytes: u64,
    /// Activations, logits and tables.
    pub scratch_bytes: u64,
    /// Keys and values of one token; a session holds them for its whole conversation.
    pub kv_bytes_per_token: u64,
    pub kv: KvFormat,
    /// How kernels share out their work on this adapter.
    pub variant: Variant,
    /// Longest prompt and answer together, in tokens.
    pub context_length: usize,
    /// Prompt tokens per submit.
    pub chunk_tokens: usize,
    pub dispatches_per_token: usize,
    pub vocab_size: usize,
    pub layers: usize,
    pub experts: usize,
    pub experts_per_token: usize,
}

impl Engine {
    /// Puts a checkpoint on the GPU.
    pub async fn load<R: Repository>(
        checkpoint: &Checkpoint<R>,
        options: &ModelOptions,
        progress: Progress<'_>,
    ) -> Result<Engine> {
        let mut engine = Engine {
            model: Model::load(checkpoint, options, progress).await?,
            turn: None,
            adjust: None,
            likeliest: None,
        };
        progress(Stage::WarmingUp, 0, 1);
        engine.warm_up().await?;
        progress(Stage::WarmingUp, 1, 1);
        Ok(engine)
    }

    /// Runs every kernel that a first answer needs: many drivers compile at first use.
    async fn warm_up(&mut self) -> Result<()> {
        let Plan {
            chunk_tokens,
            context_length,
            ..
        } = self.model.plan;
        let prompt = vec![
            0;
            WARM_UP_TOKENS
                .min(chunk_tokens)
                .min(context_length.saturating_sub(1))
                .max(1)
        ];
        let options = GenerateOptions {
            max_tokens: 2,
            ..Default::default()
        };
        let mut session = self.session().await?;
        self.generate(&mut session, &prompt, &options, &mut |_| ControlFlow::Continue(()))
            .await?;
        Ok(())
    }

    pub fn config(&self) -> &ModelConfig {
        &self.model.config
    }

    pub fn facts(&self) -> EngineFacts {
        let Model { config, plan, gpu, .. } = &self.model;
        let name = [&gpu.info.name, &gpu.info.driver]
            .into_iter()
            .find(|name| !name.is_empty());
        EngineFacts {
            adapter: name.cloned().unwrap_or_else(|| "unnamed".into()),
            backend: gpu.info.backend.to_string(),
            weight_bytes: plan.weight_bytes,
            scratch_bytes: plan.scratch_bytes,
            kv_bytes_per_token: plan.kv_bytes_per_token,
            kv: plan.kv,
            variant: self.model.variant,
            context_length: plan.context_length,
            chunk_tokens: plan.chunk_tokens,
            dispatches_per_token: self.model.dispatches_per_token(),
            vocab_size: config.vocab_size,
            layers: config.layers.len(),
            experts: config.experts,
            experts_per_token: config.experts_per_token,
        }
    }

    /// What is known of the adapter now: give it back as [`ModelOptions::remembered`] to have nothing measured again.
    pub fn remembered(&self) -> &Remembered {
        &self.model.remembered
    }

    /// Resolves when the device is lost, see [`Gpu::lost`](crate::gpu::Gpu::lost).
    pub fn lost(&self) -> impl Future<Output = Option<GpuError>> + use<> {
        self.model.gpu.lost()
    }

    /// An empty conversation.
    pub async fn session(&self) -> Result<Session> {
        Session::new(&self.model).await
    }

    /// A conversation that goes on from where `session` is, with a copy of its cache; the two go their own ways.
    pub async fn fork(&self, session: &Session) -> Result<Session> {
        session.fork(&self.model).await
    }

    /// Ids must be in the vocabulary, and there must be some, and `extra` more must fit behind them.
    fn check_ids(&self, ids: &[u32], extra: usize) -> Result<(), RequestError> {
        let vocab_size = self.model.config.vocab_size;
        let context_length = self.model.plan.context_length;
        if ids.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        if let Some((index, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab_size) {
            return Err(RequestError::TokenOutOfRange {
                index,
                id: *id,
                vocab_size,
            });
        }
        if ids.len() + extra > context_length {
            return Err(RequestError::PromptTooLong {
                tokens: ids.len() + extra,
                context_length,
            });
        }
        Ok(())
    }
}
