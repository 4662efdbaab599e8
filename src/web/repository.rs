//! The places a page can load a checkpoint from, behind one type so that the engine is compiled once.

use super::{
    fetch::{HttpFile, HttpRepository},
    files::{FileRepository, PickedFile},
};
use crate::{
    Result,
    checkpoint::{
        ByteSource, Repository,
        synth::{SynthFile, SynthRepository},
    },
};

pub enum WebRepository {
    Http(HttpRepository),
    Files(FileRepository),
    Synthetic(SynthRepository),
}

pub enum WebSource {
    Http(HttpFile),
    File(PickedFile),
    Synthetic(SynthFile),
}

impl Repository for WebRepository {
    type Source = WebSource;

    async fn open(&self, file: &str) -> Result<Option<WebSource>> {
        Ok(match self {
            WebRepository::Http(repository) => repository.open(file).await?.map(WebSource::Http),
            WebRepository::Files(repository) => repository.open(file).await?.map(WebSource::File),
            WebRepository::Synthetic(repository) => repository.open(file).await?.map(WebSource::Synthetic),
        })
    }

    async fn open_optional(&self, file: &str) -> Result<Option<WebSource>> {
        match self {
            WebRepository::Http(repository) => Ok(repository.open_optional(file).await?.map(WebSource::Http)),
            _ => self.open(file).await,
        }
    }
}

impl ByteSource for WebSource {
    fn len_bytes(&self) -> u64 {
        match self {
            WebSource::Http(file) => file.len_bytes(),
            WebSource::File(file) => file.len_bytes(),
            WebSource::Synthetic(file) => file.len_bytes(),
        }
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        match self {
            WebSource::Http(file) => file.read(offset_bytes, out).await,
            WebSource::File(file) => file.read(offset_bytes, out).await,
            WebSource::Synthetic(file) => file.read(offset_bytes, out).await,
        }
    }
}
