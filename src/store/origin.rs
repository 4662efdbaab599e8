//! Where stored files come from, and how to tell that they are still the same.

use serde::{Deserialize, Serialize};

use super::Digest;
use crate::{
    Result,
    checkpoint::{ByteSource, Repository},
};

/// What a source says of a file without sending it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub len_bytes: Option<u64>,
    /// The source's name for this version: an ETag, or when it was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validator: Option<String>,
    /// The hash that the source publishes of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl Version {
    /// Whether both are the same file, as far as can be told; by the best evidence that both have.
    pub fn is(&self, other: &Version) -> bool {
        if let (Some(own), Some(other)) = (&self.digest, &other.digest)
            && own.algorithm == other.algorithm
        {
            return own == other;
        }
        if let (Some(own), Some(other)) = (&self.validator, &other.validator) {
            return own.trim_start_matches("W/") == other.trim_start_matches("W/");
        }
        match (self.len_bytes, other.len_bytes) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        }
    }
}

/// A repository whose files can be recognised.
#[allow(async_fn_in_trait)]
pub trait Origin: Repository {
    /// What these files are now, `None` where one is not there; an error where the source cannot be asked, or refuses.
    async fn versions(&self, files: &[String]) -> Vec<Result<Option<Version>>>;
    /// What is known of a file that was opened.
    fn version(&self, file: &str, source: &Self::Source) -> Version;
    /// A file seen before, from any byte on. Nothing is asked before the first read, where it is an error if the file is another
    /// by now; an error here if the source has no place for such a file.
    fn resume(&self, file: &str, len_bytes: u64, version: &Version) -> Result<Self::Source>;
    /// Reads these bytes and none beyond them.
    async fn read_alone(&self, source: &Self::Source, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        source.read(offset_bytes, out).await
    }
}
