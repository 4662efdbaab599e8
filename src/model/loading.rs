//! What loading tells of itself while it goes on.

use serde::Serialize;

/// What a model is being made ready by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Forms of kernels are tried.
    Measuring,
    /// In pipelines.
    Compiling,
    /// In bytes of the checkpoint's files: fetched, quantized if they are BF16, uploaded.
    Weights,
    /// In passes.
    WarmingUp,
}

/// Hears how much of a stage is done, and of how much.
pub type Progress<'a> = &'a mut dyn FnMut(Stage, u64, u64);
