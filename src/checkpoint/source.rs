//! Where a checkpoint's bytes come from.

use std::{collections::BTreeMap, sync::Arc};

use super::CheckpointError;
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
    /// Opens a file that may be missing. Over HTTP, servers have other ways to say so than 404.
    async fn open_optional(&self, file: &str) -> Result<Option<Self::Source>> {
        self.open(file).await
    }
}

/// Nothing that is read whole is near this size (Llama 3's `tokenizer.json` has 17 MB).
const MAX_WHOLE_FILE_BYTES: u64 = 128 << 20;

/// Reads a whole small file (`config.json`, `tokenizer.json`); `None` if it does not exist.
pub async fn read_file<R: Repository>(repository: &R, file: &str) -> Result<Option<Vec<u8>>> {
    let Some(source) = repository.open(file).await? else {
        return Ok(None);
    };
    let length = source.len_bytes();
    if length > MAX_WHOLE_FILE_BYTES {
        let reason = format!("{length} bytes; at most {MAX_WHOLE_FILE_BYTES} are read at once");
        return Err(CheckpointError::Read {
            file: file.into(),
            reason,
        }
        .into());
    }
    let mut bytes = vec![0; length as usize];
    source.read(0, &mut bytes).await?;
    Ok(Some(bytes))
}

/// Files in memory, for tests and for models embedded in a page. Cloning shares the bytes.
#[derive(Debug, Default, Clone)]
pub struct MemoryRepository {
    files: BTreeMap<String, Arc<Vec<u8>>>,
}

impl MemoryRepository {
    pub fn insert(&mut self, file: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.files.insert(file.into(), Arc::new(bytes.into()));
    }

    pub fn remove(&mut self, file: &str) {
        self.files.remove(file);
    }

    pub fn get(&self, file: &str) -> Option<&[u8]> {
        self.files.get(file).map(|bytes| bytes.as_slice())
    }

    /// A file's bytes, to be changed in place (copied first if another clone still shares them).
    pub fn get_mut(&mut self, file: &str) -> Option<&mut Vec<u8>> {
        self.files.get_mut(file).map(Arc::make_mut)
    }

    /// Names and bytes, by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

impl Repository for MemoryRepository {
    type Source = MemoryFile;

    async fn open(&self, file: &str) -> Result<Option<MemoryFile>> {
        Ok(self.files.get(file).map(|bytes| MemoryFile {
            name: file.into(),
            bytes: bytes.clone(),
        }))
    }
}

/// A file of a [`MemoryRepository`].
#[derive(Debug)]
pub struct MemoryFile {
    name: String,
    bytes: Arc<Vec<u8>>,
}

impl ByteSource for MemoryFile {
    fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let found = usize::try_from(offset_bytes)
            .ok()
            .and_then(|begin| Some(begin..begin.checked_add(out.len())?))
            .and_then(|range| self.bytes.get(range));
        match found {
            Some(bytes) => out.copy_from_slice(bytes),
            None => return Err(end_of_file(&self.name, offset_bytes, out.len(), self.len_bytes())),
        }
        Ok(())
    }
}

/// The error every source gives when asked for bytes that its file does not have.
pub fn end_of_file(file: &str, offset_bytes: u64, wanted_bytes: usize, file_bytes: u64) -> crate::Error {
    let end_bytes = offset_bytes.saturating_add(wanted_bytes as u64);
    CheckpointError::EndOfFile {
        file: file.into(),
        offset_bytes,
        end_bytes,
        file_bytes,
    }
    .into()
}

#[cfg(not(target_arch = "wasm32"))]
mod directory {
    use std::{
        fs::File,
        io::{ErrorKind, Read, Seek, SeekFrom},
        path::PathBuf,
    };

    use super::*;

    /// A directory of the local file system.
    #[derive(Debug, Clone)]
    pub struct DirectoryRepository {
        path: PathBuf,
    }

    impl DirectoryRepository {
        /// Nothing is looked at before a file is opened.
        pub fn new(path: impl Into<PathBuf>) -> DirectoryRepository {
            DirectoryRepository { path: path.into() }
        }

        pub fn path(&self) -> &std::path::Path {
            &self.path
        }
    }

    impl Repository for DirectoryRepository {
        type Source = DirectoryFile;

        async fn open(&self, name: &str) -> Result<Option<DirectoryFile>> {
            let file = match File::open(self.path.join(name)) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(unreadable(name, &error)),
            };
            let metadata = file.metadata().map_err(|error| unreadable(name, &error))?;
            if !metadata.is_file() {
                return Err(CheckpointError::Read {
                    file: name.into(),
                    reason: "not a file".into(),
                }
                .into());
            }
            Ok(Some(DirectoryFile {
                name: name.into(),
                len_bytes: metadata.len(),
                file,
            }))
        }
    }

    /// A file of a [`DirectoryRepository`].
    #[derive(Debug)]
    pub struct DirectoryFile {
        name: String,
        len_bytes: u64,
        file: File,
    }

    impl ByteSource for DirectoryFile {
        fn len_bytes(&self) -> u64 {
            self.len_bytes
        }

        async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
            let mut file = &self.file;
            let read = file
                .seek(SeekFrom::Start(offset_bytes))
                .and_then(|_| file.read_exact(out));
            read.map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => end_of_file(&self.name, offset_bytes, out.len(), self.len_bytes),
                _ => unreadable(&self.name, &error),
            })
        }
    }

    fn unreadable(file: &str, error: &std::io::Error) -> crate::Error {
        CheckpointError::Read {
            file: file.into(),
            reason: error.to_string(),
        }
        .into()
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use directory::{DirectoryFile, DirectoryRepository};
