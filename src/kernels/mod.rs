//! One file a kernel: its bindings, its dispatch, its CPU twin, its test. Each is named as its shader.
//!
//! A twin is the same function in plain f32 Rust, written to be read; [`crate::model::Reference`] is made of twins.
//! Shapes are row-major; `[tokens, ...]` are the tokens of one pass.

pub mod adjust;
pub mod attention;
pub mod embed;
pub mod experts_down;
pub mod experts_up;
mod form;
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
pub(crate) mod testing;
pub mod transpose;

use form::Block;
pub use form::{Form, Inputs, LARGEST_TILE, PREFILL_TILE, Style, UnknownForm, Variant};
pub use kv::KvFormat;
pub use layout::LayerLayout;
pub(crate) use matrix::bf16_values;
pub use matrix::{LayerTensors, Matrix, Router, dot, inverse_rms, kept, silu};

use crate::config::{LayerConfig, ModelConfig};

/// What a layer's kernels are compiled for.
#[derive(Clone, Copy)]
pub struct LayerShape<'a> {
    pub config: &'a ModelConfig,
    pub layer: LayerConfig,
    pub layout: &'a LayerLayout,
    pub kv: KvFormat,
    pub form: Form,
    /// Tokens that the buffers of activations have room for.
    pub tokens: usize,
}

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
