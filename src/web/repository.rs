//! The places a page can load a checkpoint from, behind one type so that the engine is compiled once.

use super::{
    fetch::{HttpFile, HttpRepository},
    files::{FileRepository, PickedFile},
};
use crate::{
    Result,
    checkpoint::{ByteSource, MemoryRepository, Repository},
};

pub enum WebRepository {
    Http(HttpRepository),
    Files(FileRepository),
    Memory(MemoryRepository),
}

pub enum WebSource {
    Http(HttpFile),
    File(PickedFile),
    Memory(<MemoryRepository as Repository>::Source),
}

impl Repository for WebRepository {
    type Source = WebSource;

    async fn open(&self, file: &str) -> Result<Option<WebSource>> {
        Ok(match self {
            WebRepository::Http(repository) => repository.open(file).await?.map(WebSource::Http),
            WebRepository::Files(repository) => repository.open(file).await?.map(WebSource::File),
            WebRepository::Memory(repository) => repository.open(file).await?.map(WebSource::Memory),
        })
    }
}

impl ByteSource for WebSource {
    fn len_bytes(&self) -> u64 {
        match self {
            WebSource::Http(file) => file.len_bytes(),
            WebSource::File(file) => file.len_bytes(),
            WebSource::Memory(file) => file.len_bytes(),
        }
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        match self {
            WebSource::Http(file) => file.read(offset_bytes, out).await,
            WebSource::File(file) => file.read(offset_bytes, out).await,
            WebSource::Memory(file) => file.read(offset_bytes, out).await,
        }
    }
}
