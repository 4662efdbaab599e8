//! One error type for the whole crate; each part names its own failures.

use crate::{
    checkpoint::CheckpointError, config::ConfigError, engine::RequestError, gpu::GpuError, store::StoreError,
    text::TextError,
};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, by the part that noticed it. Every message names the file, tensor, field or limit at fault,
/// what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[cfg(target_arch = "wasm32")]
    #[error(transparent)]
    Web(#[from] crate::web::WebError),
}

impl Error {
    /// The variant's name ("MissingTensor", "PromptTooLong", ...): what JavaScript sees as `error.code`.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Config(error) => error.code(),
            Error::Checkpoint(error) => error.code(),
            Error::Text(error) => error.code(),
            Error::Gpu(error) => error.code(),
            Error::Store(error) => error.code(),
            Error::Request(error) => error.code(),
            #[cfg(target_arch = "wasm32")]
            Error::Web(error) => error.code(),
        }
    }
}
