//! What can be wrong with a checkpoint's files.

use super::safetensors::Dtype;
use crate::json::Imposter;

/// A file or tensor that is not what it should be. Every variant names the file or tensor, what was expected and what
/// was found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    #[error("{file}: not found in the repository")]
    MissingFile { file: String },
    #[error("{file}: the shard holding `{tensor}` is not in the repository")]
    MissingShard { file: String, tensor: String },
    #[error("{file}: cannot be read: {reason}")]
    Read { file: String, reason: String },
    #[error("{file}: cannot be written: {reason}")]
    Write { file: String, reason: String },
    #[error("{file}: ends at byte {file_bytes}, but bytes {offset_bytes} to {end_bytes} were asked for")]
    EndOfFile {
        file: String,
        offset_bytes: u64,
        end_bytes: u64,
        file_bytes: u64,
    },

    #[error("{file}: not a safetensors file: a header of {header_bytes} bytes, in a file of {file_bytes}")]
    HeaderLength {
        file: String,
        header_bytes: u64,
        file_bytes: u64,
    },
    #[error("{file} is not a safetensors file: {imposter}")]
    Imposter { file: String, imposter: Imposter },
    #[error("{file}: the safetensors header is not valid: {reason}")]
    HeaderJson { file: String, reason: String },
    #[error("{file}: tensor `{tensor}`: unknown dtype {found:?}")]
    UnknownDtype {
        file: String,
        tensor: String,
        found: String,
    },
    #[error("{file}: tensor `{tensor}`: {dtype:?} {shape:?} and offsets {begin} to {end} do not agree")]
    TensorBytes {
        file: String,
        tensor: String,
        dtype: Dtype,
        shape: Vec<u64>,
        begin: u64,
        end: u64,
    },
    #[error("{file}: tensor `{tensor}` begins at {begin}, inside the tensor before it, which ends at {expected}")]
    TensorOverlap {
        file: String,
        tensor: String,
        expected: u64,
        begin: u64,
    },
    #[error("{file}: bytes {expected} to {begin}, before tensor `{tensor}`, belong to no tensor")]
    TensorGap {
        file: String,
        tensor: String,
        expected: u64,
        begin: u64,
    },
    #[error("{file}: truncated or damaged: {file_bytes} bytes, but tensor `{tensor}` ends at {expected_bytes}")]
    Truncated {
        file: String,
        tensor: String,
        expected_bytes: u64,
        file_bytes: u64,
    },
    #[error("{file}: {file_bytes} bytes, but its tensors end at {expected_bytes}")]
    TrailingBytes {
        file: String,
        expected_bytes: u64,
        file_bytes: u64,
    },

    #[error("{file}: not a safetensors index: {reason}")]
    IndexJson { file: String, reason: String },
    #[error("{index}: tensor `{tensor}` should be in {file}, which does not hold it")]
    IndexTensor {
        index: String,
        tensor: String,
        file: String,
    },
    #[error("tensor `{tensor}` appears twice: in {first} and in {second}")]
    DuplicateTensor {
        tensor: String,
        first: String,
        second: String,
    },

    #[error("tensor `{tensor}` is missing")]
    MissingTensor { tensor: String },
    #[error("{file}: tensor `{tensor}` is {found:?}, expected {expected}")]
    TensorDtype {
        file: String,
        tensor: String,
        expected: String,
        found: Dtype,
    },
    #[error("{file}: tensor `{tensor}` has shape {found:?}, expected {expected:?}")]
    TensorShape {
        file: String,
        tensor: String,
        expected: Vec<u64>,
        found: Vec<u64>,
    },
    #[error("{file}: holds `{tensor}`, but config.json says that the embedding is the LM head (tie_word_embeddings)")]
    UnexpectedLmHead { file: String, tensor: String },
    #[error(
        "config.json says that the LM head is not the embedding (tie_word_embeddings false), but `{tensor}` is missing"
    )]
    MissingLmHead { tensor: String },

    #[error("{file}: tensor `{tensor}`: value {index} is {value}")]
    NonFinite {
        file: String,
        tensor: String,
        index: u64,
        value: f32,
    },
    #[error("{file}: tensor `{tensor}`: group {group} of 32 weights needs a scale above 65504, the largest of float16")]
    ScaleOverflow { file: String, tensor: String, group: u64 },
    #[error("{file}: tensor `{tensor}`: the gate and up halves of more than {limit_bytes} bytes of experts lie apart")]
    ExpertHalvesApart {
        file: String,
        tensor: String,
        limit_bytes: usize,
    },
}

impl CheckpointError {
    pub fn code(&self) -> &'static str {
        use CheckpointError::*;
        match self {
            MissingFile { .. } => "MissingFile",
            MissingShard { .. } => "MissingShard",
            Read { .. } => "Read",
            Write { .. } => "Write",
            EndOfFile { .. } => "EndOfFile",
            HeaderLength { .. } => "HeaderLength",
            Imposter { .. } => "Imposter",
            HeaderJson { .. } => "HeaderJson",
            UnknownDtype { .. } => "UnknownDtype",
            TensorBytes { .. } => "TensorBytes",
            TensorOverlap { .. } => "TensorOverlap",
            TensorGap { .. } => "TensorGap",
            Truncated { .. } => "Truncated",
            TrailingBytes { .. } => "TrailingBytes",
            IndexJson { .. } => "IndexJson",
            IndexTensor { .. } => "IndexTensor",
            DuplicateTensor { .. } => "DuplicateTensor",
            MissingTensor { .. } => "MissingTensor",
            TensorDtype { .. } => "TensorDtype",
            TensorShape { .. } => "TensorShape",
            UnexpectedLmHead { .. } => "UnexpectedLmHead",
            MissingLmHead { .. } => "MissingLmHead",
            NonFinite { .. } => "NonFinite",
            ScaleOverflow { .. } => "ScaleOverflow",
            ExpertHalvesApart { .. } => "ExpertHalvesApart",
        }
    }
}
