//! What is on a disk, model by model.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Access, Damage, Disk, DiskError, DiskFile, Proof,
    digest::Running,
    index::{Index, look},
};

/// A model on this disk, or the part of it that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub id: String,
    pub revision: String,
    pub bytes: u64,
    /// Of the files that were begun.
    pub bytes_total: u64,
    pub complete: bool,
    pub verified: Proof,
    /// Milliseconds since 1970; 0 if no load came to its end.
    pub last_used_ms: u64,
    pub folder: String,
}

/// The folder of a model: its name as far as file systems take it, and a hash of all of it.
pub fn folder_of(id: &str, revision: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
            c
        } else {
            '-'
        }
    };
    let name: String = id.trim_end_matches('/').chars().rev().take(40).map(plain).collect();
    let name: String = name.chars().rev().collect();
    let hash = xxh3_64(format!("{id}\n{revision}").as_bytes());
    format!("{}-{hash:016x}", name.trim_start_matches(['.', '-']))
}

/// The models that are there; folders without a readable index are left out.
pub async fn list<D: Disk>(disk: &D) -> Result<Vec<Summary>, DiskError> {
    let mut summaries = Vec::new();
    for folder in disk.folders().await? {
        if let Ok(Some(index)) = look(disk, &folder).await {
            summaries.push(summary(folder, &index));
        }
    }
    summaries.sort_by(|a, b| (b.last_used_ms, &a.id).cmp(&(a.last_used_ms, &b.id)));
    Ok(summaries)
}

fn summary(folder: String, index: &Index) -> Summary {
    Summary {
        id: index.id.clone(),
        revision: index.revision.clone(),
        bytes: index
            .files()
            .map(|(_, entry)| entry.stored_bytes(index.chunk_bytes))
            .sum(),
        bytes_total: index.files().map(|(_, entry)| entry.len_bytes).sum(),
        complete: index.is_proven(),
        verified: index.proof(),
        last_used_ms: index.used_ms,
        folder,
    }
}

/// Reads everything that is stored of a model: what is not as it was stored. A whole file whose chunks are all right, but whose
/// SHA-256 is not what it was, is damaged as a whole.
pub async fn verify<D: Disk>(
    disk: &D,
    folder: &str,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<Damage>, DiskError> {
    let Some(index) = look(disk, folder).await? else {
        return Ok(Vec::new());
    };
    let total_bytes = index
        .files()
        .map(|(_, entry)| entry.stored_bytes(index.chunk_bytes))
        .sum();
    let (mut done_bytes, mut damages, mut buffer) = (0, Vec::new(), Vec::new());
    for (_, entry) in index.files() {
        let file = disk.open(folder, &entry.name, Access::Read).await?;
        let mut running = Running::new(entry.len_bytes, &[]);
        let before = damages.len();
        for (chunk, hash) in entry.hashes.iter().enumerate() {
            let offset_bytes = chunk as u64 * index.chunk_bytes;
            let end_bytes = entry.len_bytes.min(offset_bytes + index.chunk_bytes);
            buffer.resize((end_bytes - offset_bytes) as usize, 0);
            let read = match &file {
                Some(file) => file.read(offset_bytes, &mut buffer).await,
                None => Ok(0),
            };
            if read != Ok(buffer.len()) || xxh3_64(&buffer) != *hash {
                damages.push(Damage {
                    file: entry.name.clone(),
                    offset_bytes,
                    end_bytes,
                });
            }
            running.feed(&buffer);
            done_bytes += buffer.len() as u64;
            progress(done_bytes, total_bytes);
        }
        if let Some((sha256, _)) = &entry.proven
            && damages.len() == before
            && running.finish().first() != Some(sha256)
        {
            damages.push(Damage {
                file: entry.name.clone(),
                offset_bytes: 0,
                end_bytes: entry.len_bytes,
            });
        }
    }
    Ok(damages)
}

/// Names of the published files that are there as a whole.
pub async fn export_names<D: Disk>(disk: &D, folder: &str) -> Result<Vec<String>, DiskError> {
    let index = look(disk, folder).await?.unwrap_or_default();
    let whole = index.files().filter(|(_, entry)| entry.proven.is_some());
    Ok(whole.map(|(_, entry)| entry.name.clone()).collect())
}

/// Removes a model.
pub async fn delete<D: Disk>(disk: &D, folder: &str) -> Result<(), DiskError> {
    disk.remove(folder).await
}
