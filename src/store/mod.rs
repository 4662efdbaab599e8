//! Models kept on the device: fetched once, resumed where they stopped, proven to be what was published.
//!
//! [`Stored`] stands between a repository and whoever reads it, with the interface of both: it is a
//! [`Repository`](crate::checkpoint::Repository) over another one. A file is cut into chunks of 1 MiB. A chunk that is on the disk is
//! read there and held against its hash; one that is not comes from the source, and is written down on its way to the reader.
//! So a file grows from its beginning: what is there of it is a number of chunks.
//!
//! Two kinds of hash: SHA-256 of a whole file, computed as it streams, against what the source published; and a fast one
//! of each chunk (XXH3), made at that time, against which every later read is checked.

mod digest;
mod disk;
mod error;
mod file;
mod index;
mod library;
mod origin;
mod stored;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use digest::{Algorithm, Digest};
pub use disk::{Access, Disk, DiskError, DiskFile};
pub use error::StoreError;
pub use file::StoredFile;
pub use library::{Summary, delete, export_names, folder_of, list, verify};
pub use origin::{Origin, Version};
pub use stored::{Options, Report, Stored};

pub const CHUNK_BYTES: u64 = 1 << 20;

/// What a file's bytes were held against; the weaker first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Proof {
    /// Nothing: the source publishes no hash.
    None,
    /// The hash that the source publishes.
    Sha256,
    /// The hash that the caller gave.
    Sri,
}

/// Bytes on the disk that were not those that were stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Damage {
    pub file: String,
    pub offset_bytes: u64,
    pub end_bytes: u64,
}
