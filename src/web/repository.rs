//! The places a page can load a checkpoint from, behind one type so that the engine is compiled once.

use super::{
    fetch::{HttpFile, HttpRepository},
    files::{FileRepository, PickedFile},
    opfs::Opfs,
};
use crate::{
    Result,
    checkpoint::{
        ByteSource, Repository,
        synth::{SynthFile, SynthRepository},
    },
    store::{Stored, StoredFile},
};

pub enum WebRepository {
    /// As they come.
    Files(WebFiles),
    /// Kept on this device on their way.
    Stored(Stored<WebFiles, Opfs>),
    Synthetic(SynthRepository),
}

pub enum WebSource {
    File(WebFile),
    Stored(StoredFile<WebFiles, Opfs>),
    Synthetic(SynthFile),
}

impl Repository for WebRepository {
    type Source = WebSource;

    async fn open(&self, file: &str) -> Result<Option<WebSource>> {
        Ok(match self {
            WebRepository::Files(files) => files.open(file).await?.map(WebSource::File),
            WebRepository::Stored(stored) => stored.open(file).await?.map(WebSource::Stored),
            WebRepository::Synthetic(repository) => repository.open(file).await?.map(WebSource::Synthetic),
        })
    }

    async fn open_optional(&self, file: &str) -> Result<Option<WebSource>> {
        match self {
            WebRepository::Files(files) => Ok(files.open_optional(file).await?.map(WebSource::File)),
            WebRepository::Stored(stored) => Ok(stored.open_optional(file).await?.map(WebSource::Stored)),
            WebRepository::Synthetic(_) => self.open(file).await,
        }
    }
}

impl ByteSource for WebSource {
    fn len_bytes(&self) -> u64 {
        match self {
            WebSource::File(file) => file.len_bytes(),
            WebSource::Stored(file) => file.len_bytes(),
            WebSource::Synthetic(file) => file.len_bytes(),
        }
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        match self {
            WebSource::File(file) => file.read(offset_bytes, out).await,
            WebSource::Stored(file) => file.read(offset_bytes, out).await,
            WebSource::Synthetic(file) => file.read(offset_bytes, out).await,
        }
    }
}

/// Files that somebody published, or picked.
pub enum WebFiles {
    Http(HttpRepository),
    Picked(FileRepository),
}

pub enum WebFile {
    Http(HttpFile),
    Picked(PickedFile),
}

impl Repository for WebFiles {
    type Source = WebFile;

    async fn open(&self, file: &str) -> Result<Option<WebFile>> {
        Ok(match self {
            WebFiles::Http(repository) => repository.open(file).await?.map(WebFile::Http),
            WebFiles::Picked(repository) => repository.open(file).await?.map(WebFile::Picked),
        })
    }

    async fn open_optional(&self, file: &str) -> Result<Option<WebFile>> {
        match self {
            WebFiles::Http(repository) => Ok(repository.open_optional(file).await?.map(WebFile::Http)),
            WebFiles::Picked(_) => self.open(file).await,
        }
    }
}

impl ByteSource for WebFile {
    fn len_bytes(&self) -> u64 {
        match self {
            WebFile::Http(file) => file.len_bytes(),
            WebFile::Picked(file) => file.len_bytes(),
        }
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        match self {
            WebFile::Http(file) => file.read(offset_bytes, out).await,
            WebFile::Picked(file) => file.read(offset_bytes, out).await,
        }
    }
}
