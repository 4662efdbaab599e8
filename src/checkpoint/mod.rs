//! Bytes -> tensors: safetensors headers, shards, INT4 g32, BF16 quantized on the way in.
//!
//! Nothing here ever holds a whole model: a [`Repository`] hands out files that are read by range, and
//! [`Checkpoint::stream`] passes tensors to a [`TensorSink`] piece by piece, in file order.

mod error;
pub mod int4;
mod manifest;
mod open;
pub mod safetensors;
mod source;
mod stream;
pub mod synth;

pub use error::CheckpointError;
pub use manifest::{Parameter, ParameterKind, TensorSpec, parameters, runtime_tensors};
pub use open::{CONFIG_FILE, Checkpoint, INDEX_FILE, WEIGHTS_FILE};
pub use safetensors::{Dtype, TensorInfo};
pub use source::{ByteSource, MemoryFile, MemoryRepository, Repository, end_of_file, read_file};
#[cfg(not(target_arch = "wasm32"))]
pub use source::{DirectoryFile, DirectoryRepository};
pub use stream::{PIECE_BYTES, TensorSink};
