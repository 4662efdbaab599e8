//! What can go wrong with what is stored.

use super::{Digest, DiskError};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error(
        "no room on this device to keep {model}: {needed_bytes} bytes more are needed, {}{}",
        .room_bytes.map_or("the disk or this site's quota is full".into(), |room| format!("{room} are free")),
        could_go(.others)
    )]
    Quota {
        model: String,
        needed_bytes: u64,
        /// `None` where the browser did not tell before it refused.
        room_bytes: Option<u64>,
        /// What else is stored, with its bytes.
        others: Vec<(String, u64)>,
    },
    #[error(
        "{file}: bytes {offset_bytes} to {end_bytes} on this device are not those that were stored, and cannot be fetched again now; \
         load the model once with a connection, or delete it"
    )]
    Damaged {
        file: String,
        offset_bytes: u64,
        end_bytes: u64,
    },
    #[error("{file}: the source sent other bytes {offset_bytes} to {end_bytes} than before; load it again")]
    Unsteady {
        file: String,
        offset_bytes: u64,
        end_bytes: u64,
    },
    #[error("{model} is being stored or changed by another page; try again when it is done")]
    Busy { model: String },
    #[error("models cannot be kept here: {detail}")]
    Unavailable { detail: String },
    #[error("{model} is not on this device{}", if *.begun { ", or only a part of it" } else { "" })]
    NotStored { model: String, begun: bool },
    #[error("{file}: what came is not the file that was published: its hash is {found}, expected {expected}")]
    Integrity {
        file: String,
        expected: Digest,
        found: Digest,
    },
    #[error(
        "integrity: of {file}, {text:?} is no hash; expected \"sha256-\", \"sha384-\" or \"sha512-\" and the hash in base64"
    )]
    BadIntegrity { file: String, text: String },
}

fn could_go(others: &[(String, u64)]) -> String {
    let named: Vec<String> = others
        .iter()
        .map(|(id, bytes)| format!("{id} ({bytes} bytes)"))
        .collect();
    match named.as_slice() {
        [] => String::new(),
        _ => format!("; to be deleted, if you like: {}", named.join(", ")),
    }
}

impl StoreError {
    /// A disk that failed while `model` was stored.
    pub fn of_disk(error: DiskError, model: &str, needed_bytes: u64) -> StoreError {
        let model = model.to_owned();
        match error {
            DiskError::Full => StoreError::Quota {
                model,
                needed_bytes,
                room_bytes: None,
                others: Vec::new(),
            },
            DiskError::Busy => StoreError::Busy { model },
            gone @ DiskError::Missing => StoreError::Unavailable {
                detail: gone.to_string(),
            },
            DiskError::Other(detail) => StoreError::Unavailable { detail },
        }
    }

    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Quota { .. } => "StoreQuota",
            StoreError::Damaged { .. } => "StoreDamaged",
            StoreError::Unsteady { .. } => "SourceChanged",
            StoreError::Busy { .. } => "StoreBusy",
            StoreError::Unavailable { .. } => "StoreUnavailable",
            StoreError::NotStored { .. } => "NotStored",
            StoreError::Integrity { .. } => "Integrity",
            StoreError::BadIntegrity { .. } => "BadOptions",
        }
    }
}
