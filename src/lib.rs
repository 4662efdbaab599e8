//! MobileMoE in the browser: an on-device mixture-of-experts language model whose whole forward pass runs in WGSL.
//!
//! A checkpoint in the published `mobilemoe-int4-g32` layout streams from a [`checkpoint::Repository`] straight into
//! GPU buffers; routing, expert choice and sampling happen on the GPU and only token ids come back.
//! Dependencies point one way: `web -> engine -> model -> kernels -> gpu`; `checkpoint`, `store` and `text` stand
//! beside `model`.

pub mod checkpoint;
pub mod config;
pub mod engine;
pub mod error;
pub mod gpu;
pub mod json;
pub mod kernels;
pub mod model;
pub mod store;
pub mod text;
#[cfg(target_arch = "wasm32")]
pub mod web;

pub use config::ModelConfig;
pub use error::{Error, Result};
