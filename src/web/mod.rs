//! The browser's side: where bytes come from, and the class that the package's worker drives.

mod answer;
mod bench;
mod engine;
mod error;
mod fetch;
mod files;
mod js;
mod opfs;
mod origin;
mod repository;
mod store;

pub use engine::{WebCheckpoint, WebEngine};
pub use error::WebError;
pub use fetch::{HttpFile, HttpRepository, HttpSource};
pub use files::{FileRepository, PickedFile};
pub use opfs::{Opfs, OpfsFile};
pub use repository::{WebFile, WebFiles, WebRepository, WebSource};
