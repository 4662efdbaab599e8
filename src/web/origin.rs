//! What a web server tells of its files without sending them, so that stored ones can be recognised.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use futures_util::future::join_all;
use serde::Deserialize;

use super::{
    fetch::{self, HttpFile, HttpRepository, Request, StreamedFile},
    js,
    repository::{WebFile, WebFiles},
};
use crate::{
    Result,
    checkpoint::{ByteSource, CheckpointError},
    store::{Algorithm, Digest, Origin, Version},
};

/// A hub lists so many files at once; of a repository that has more, what is not listed may be there.
const LISTED_AT_ONCE: usize = 1000;

/// A hub's list of a repository's files, with their hashes: one request for all of them. (The headers that tell a file's hash
/// come with a redirect, and browsers hide those.)
pub(super) struct Listing {
    /// Until it was asked for.
    request: Cell<Option<Request>>,
    files: RefCell<Option<HashMap<String, Version>>>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    size: Option<u64>,
    /// Of a small file, what Git names it by; of a large one, the same of what stands for it.
    oid: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    /// SHA-256.
    oid: String,
    size: u64,
}

impl Listing {
    pub fn at(request: Option<Request>) -> Listing {
        Listing {
            request: Cell::new(request),
            files: RefCell::default(),
        }
    }

    /// Asks for it, once, if it is on a hub. A mirror without one is asked file by file.
    pub async fn fetch(&self) {
        if let Some(request) = self.request.take()
            && let Ok(Some(answer)) = request.ask("GET").await
            && let Ok(text) = js::text(&answer).await
            && let Ok(entries) = serde_json::from_str::<Vec<Entry>>(&text)
        {
            let files = entries.into_iter().filter(|entry| entry.kind == "file");
            *self.files.borrow_mut() = Some(files.map(Entry::version).collect());
        }
    }

    pub fn version(&self, file: &str) -> Option<Version> {
        self.files.borrow().as_ref()?.get(file).cloned()
    }

    /// The hub says that there is no such file.
    pub fn lacks(&self, file: &str) -> bool {
        let files = self.files.borrow();
        (files.as_ref()).is_some_and(|files| files.len() < LISTED_AT_ONCE && !files.contains_key(file))
    }
}

impl Entry {
    fn version(self) -> (String, Version) {
        let digest = match &self.lfs {
            Some(large) => Digest::from_hex(Algorithm::Sha256, &large.oid),
            None => (self.oid).and_then(|oid| Digest::from_hex(Algorithm::GitBlob, &oid)),
        };
        let version = Version {
            len_bytes: self.lfs.map(|large| large.size).or(self.size),
            validator: None,
            digest,
        };
        (self.path, version)
    }
}

impl WebFiles {
    /// What the source tells of all its files at once, if it does.
    pub async fn fetch_listing(&self) {
        if let WebFiles::Http(repository) = self {
            repository.listing.fetch().await;
        }
    }
}

impl HttpRepository {
    async fn version_now(&self, file: &str) -> Result<Option<Version>> {
        if self.listing.lacks(file) {
            return Ok(None);
        }
        if let Some(version) = self.listing.version(file) {
            return Ok(Some(version));
        }
        let Some(request) = self.request(file) else {
            return Ok(None);
        };
        Ok(request.ask("HEAD").await?.map(|response| Version {
            len_bytes: fetch::content_length(&response),
            validator: fetch::validator(&response),
            digest: None,
        }))
    }
}

impl Origin for WebFiles {
    async fn versions(&self, files: &[String]) -> Vec<Result<Option<Version>>> {
        match self {
            WebFiles::Http(repository) => join_all(files.iter().map(|file| repository.version_now(file))).await,
            WebFiles::Picked(repository) => {
                let version = |file: &String| Ok(repository.find(file).map(|file| file.version()));
                files.iter().map(version).collect()
            }
        }
    }

    fn version(&self, file: &str, source: &WebFile) -> Version {
        match (self, source) {
            (WebFiles::Http(repository), WebFile::Http(source)) => Version {
                len_bytes: Some(source.len_bytes()),
                validator: source.validator().cloned(),
                digest: (repository.listing.version(file)).and_then(|version| version.digest),
            },
            (_, WebFile::Picked(source)) => source.version(),
            _ => Version::default(),
        }
    }

    fn resume(&self, file: &str, len_bytes: u64, version: &Version) -> Result<WebFile> {
        let missing = || CheckpointError::MissingFile { file: file.into() };
        Ok(match self {
            WebFiles::Http(repository) => {
                let request = repository.request(file).ok_or_else(missing)?;
                let file = StreamedFile::resume(request, len_bytes, version.validator.clone());
                WebFile::Http(HttpFile::Streamed(file))
            }
            WebFiles::Picked(repository) => WebFile::Picked(repository.find(file).ok_or_else(missing)?),
        })
    }

    async fn read_alone(&self, source: &WebFile, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        match source {
            WebFile::Http(HttpFile::Streamed(file)) => file.read_alone(offset_bytes, out).await,
            source => source.read(offset_bytes, out).await,
        }
    }
}
