//! Bytes -> tensors: safetensors headers, shards, INT4 g32, BF16 quantized on the way in.
//!
//! Nothing here ever holds a whole model: a [`Repository`] hands out files that are read by range, and
//! [`Checkpoint::stream`] passes tensors to a [`TensorSink`] piece by piece, in file order.

mod error;
mod source;

pub use error::CheckpointError;
pub use source::{ByteSource, MemoryRepository, Repository};
