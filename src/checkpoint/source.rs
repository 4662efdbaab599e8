//! Where a checkpoint's bytes come from.

use crate::Result;

/// One file, read by range.
#[allow(async_fn_in_trait)] // futures stay on one thread, natively and in the worker
pub trait ByteSource {
    /// The file's length in bytes.
    fn len_bytes(&self) -> u64;
    /// Fills `out` from `offset_bytes` on; an error if the file ends before.
    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()>;
}

/// A folder of files: a directory, an HTTP base URL, files picked in a browser, memory.
#[allow(async_fn_in_trait)]
pub trait Repository {
    type Source: ByteSource;
    /// Opens a file by its name relative to the repository; `None` if it does not exist.
    async fn open(&self, file: &str) -> Result<Option<Self::Source>>;
}

/// Files in memory, for tests and for models embedded in a page.
#[derive(Default)]
pub struct MemoryRepository;
