//! One file a kernel: its bindings, its dispatch, its CPU twin, its test. Each is named as its shader.
//!
//! A twin is the same function in plain f32 Rust, written to be read; [`crate::model::Reference`] is made of twins.
//! Shapes are row-major; `[tokens, ...]` are the tokens of one pass.

pub mod adjust;
pub mod attention;
pub mod embed;
pub mod experts_down;
pub mod experts_up;
pub mod group;
mod kv;
mod layout;
pub mod lm_head;
pub mod logprob;
mod matrix;
pub mod o_proj;
pub mod qkv;
pub mod read;
pub mod rope;
pub mod route;
pub mod routed_down;
pub mod sample;
#[cfg(test)]
mod testing;

pub use kv::KvFormat;
pub use layout::LayerLayout;
pub(crate) use matrix::bf16_values;
pub use matrix::{LayerTensors, Matrix, Router, dot, inverse_rms, silu};

use std::fmt;

use crate::config::{LayerConfig, ModelConfig};

/// What a layer's kernels are compiled for.
#[derive(Clone, Copy)]
pub struct LayerShape<'a> {
    pub config: &'a ModelConfig,
    pub layer: LayerConfig,
    pub layout: &'a LayerLayout,
    pub kv: KvFormat,
    pub style: Style,
    /// Tokens that share one read of a weight: 1 to decode, [`PREFILL_TILE`] to prefill.
    pub tile: usize,
}

/// How kernels that read weights share out their work. Both give the same result up to rounding; which is faster is up to
/// the device, and measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// 256 threads share a block of rows and add up their parts in workgroup memory: neighbours read neighbouring words.
    /// `shaders/NAME.wgsl`.
    Workgroup,
    /// A thread has a block of rows for itself and never waits: no barrier, no workgroup memory. `shaders/thread/NAME.wgsl`.
    Thread,
}

/// The styles of a model's kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Variant {
    /// For one token at a time.
    pub decode: Style,
    /// For tiles of tokens.
    pub prefill: Style,
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Style::Workgroup => "workgroup",
            Style::Thread => "thread",
        })
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "decode: {}, prefill: {}", self.decode, self.prefill)
    }
}

impl Style {
    /// Threads of a workgroup where each works alone: few, so that few cores get equal shares.
    const SMALL_WORKGROUP: usize = 4;

    /// The kernel's source, of the two.
    fn source(self, workgroup: &'static str, thread: &'static str) -> &'static str {
        match self {
            Style::Workgroup => workgroup,
            Style::Thread => thread,
        }
    }

    /// Workgroups for so many blocks of rows: a workgroup a block, or a thread a block.
    fn workgroups(self, workgroup_blocks: usize, thread_blocks: usize) -> u32 {
        match self {
            Style::Workgroup => workgroup_blocks as u32,
            Style::Thread => thread_blocks.div_ceil(Self::SMALL_WORKGROUP) as u32,
        }
    }
}

/// Tokens per workgroup in prefill.
pub const PREFILL_TILE: usize = 4;

/// What one pass works on, as the kernels read it (`shaders/shared/step.wgsl`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Step {
    /// Tokens already in the KV cache: the position of the pass's first token.
    pub position: u32,
    /// Tokens in the pass.
    pub count: u32,
    /// First row of the pass that the LM head looks at.
    pub head_row: u32,
    /// How many rows it looks at.
    pub head_rows: u32,
}

/// One routed expert of one token (`shaders/shared/choice.wgsl`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Choice {
    pub expert: u32,
    /// Where the expert's weights are on the GPU, [`EMPTY_SLOT`] if they are not there.
    pub slot: u32,
    /// What the expert's output is multiplied by.
    pub weight: f32,
    /// sigmoid + selection bias, what the choice was made by.
    pub score: f32,
}

/// The slot of an expert whose weights are not on the GPU.
pub const EMPTY_SLOT: u32 = u32::MAX;

fn tiles(count: usize, tile: usize) -> u32 {
    count.div_ceil(tile) as u32
}
