//! A model on the GPU ([`Model`]) and its CPU reference ([`Reference`]).

mod cache;
mod forward;
mod loading;
mod plan;
mod reference;
mod traffic;
mod variant;
mod weights;

pub use cache::KvCache;
pub use forward::{Model, ModelOptions};
pub use loading::{Progress, Stage};
pub use plan::Plan;
pub use reference::{Reference, ReferenceCache, Trace};
pub use traffic::{KernelReads, min_weight_bytes_per_token, token_reads};
pub use variant::Remembered;
