//! What the store needs of a disk: folders of files, read and written at any byte. The origin private file system in a
//! browser (`src/web/opfs.rs`), memory with faults in tests.

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To read and to write; made if it is not there.
    Write,
    /// To read, beside whoever writes.
    Read,
}

/// Why a disk failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    #[error("there is no room left")]
    Full,
    #[error("another page has the file open")]
    Busy,
    #[error("it was there before, and is no longer")]
    Missing,
    #[error("{0}")]
    Other(String),
}

/// A disk with a folder for each model.
#[allow(async_fn_in_trait)] // futures stay on one thread, natively and in the worker
pub trait Disk {
    type File: DiskFile;
    /// `None`: to be read, and not there.
    async fn open(&self, folder: &str, file: &str, access: Access) -> Result<Option<Self::File>, DiskError>;
    async fn folders(&self) -> Result<Vec<String>, DiskError>;
    /// Removes a folder with all that is in it, if it is there.
    async fn remove(&self, folder: &str) -> Result<(), DiskError>;
    /// Bytes that may still be written, where the system tells.
    async fn room_bytes(&self) -> Option<u64>;
    /// Milliseconds since 1970.
    fn now_ms(&self) -> f64;
}

#[allow(async_fn_in_trait)]
pub trait DiskFile {
    async fn len_bytes(&self) -> Result<u64, DiskError>;
    /// Reads from `offset_bytes` on; how many bytes there were.
    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<usize, DiskError>;
    /// Writes all of `bytes`, making the file longer if need be.
    fn write(&self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DiskError>;
    fn truncate(&self, len_bytes: u64) -> Result<(), DiskError>;
    /// Returns once what was written outlasts a power cut.
    fn flush(&self) -> Result<(), DiskError>;
}
