//! What can be wrong with a checkpoint's files.

#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("{file}: not found in the repository")]
    MissingFile { file: String },
}

impl CheckpointError {
    pub fn code(&self) -> &'static str {
        match self {
            CheckpointError::MissingFile { .. } => "MissingFile",
        }
    }
}
