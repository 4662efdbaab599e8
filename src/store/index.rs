//! What is stored of a model: a log of records, one a line, in two copies.
//!
//! A line is a checksum and JSON. The checksum goes on from that of the line before, so a log is right up to its first line
//! that is not, whatever befell it: a write cut short, a flipped bit, a line lost. Of two copies the longer one counts. A log may
//! claim bytes that a power cut took: every chunk is held against its hash when it is read, so no claim is believed.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Access, Digest, Disk, DiskError, DiskFile, Proof, Version};

/// Names that no checkpoint's file has.
const COPIES: [&str; 2] = ["mobilemoe-store.index", "mobilemoe-store.index2"];
const FORMAT: u32 = 1;
/// No log comes near this: a chunk's line has about 45 bytes.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// One step in a model's life on this disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Record {
    /// The first line.
    Model {
        format: u32,
        id: String,
        revision: String,
        chunk_bytes: u64,
    },
    /// A file was begun; files are counted from 0.
    File {
        name: String,
        len_bytes: u64,
        version: Version,
    },
    /// The source has another name for the same file.
    Version(usize, Version),
    /// Chunk `.1` of file `.0` was written, and has this hash.
    Chunk(usize, usize, u64),
    /// All of a file is there: its SHA-256, and what that was held against.
    Proven(usize, Digest, Proof),
    /// A file is no longer what the source has, or never was what it said.
    Dropped(usize),
    /// The source has no such file.
    Absent(String),
    /// The source changed: what was absent may be there.
    Changed,
    /// Everything was there that a load asks for.
    Complete,
    /// Milliseconds since 1970.
    Used(u64),
}

/// A file as the log tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub name: String,
    pub len_bytes: u64,
    pub version: Version,
    /// Of the chunks that are there: those from the file's beginning on.
    pub hashes: Vec<u64>,
    pub proven: Option<(Digest, Proof)>,
}

impl Entry {
    pub fn stored_bytes(&self, chunk_bytes: u64) -> u64 {
        self.len_bytes.min(self.hashes.len() as u64 * chunk_bytes)
    }
}

/// A model as its log tells of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Index {
    pub id: String,
    pub revision: String,
    pub chunk_bytes: u64,
    files: Vec<Option<Entry>>,
    pub absent: Vec<String>,
    pub complete: bool,
    pub used_ms: u64,
}

impl Index {
    /// Files by their numbers.
    pub fn files(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let numbered = self.files.iter().enumerate();
        numbered.filter_map(|(number, entry)| Some((number, entry.as_ref()?)))
    }

    pub fn file(&self, name: &str) -> Option<(usize, &Entry)> {
        self.files().find(|(_, entry)| entry.name == name)
    }

    /// The number that the next file gets.
    pub fn next_number(&self) -> usize {
        self.files.len()
    }

    pub fn is_proven(&self) -> bool {
        self.complete && self.files().all(|(_, entry)| entry.proven.is_some())
    }

    /// The weakest of its files' proofs.
    pub fn proof(&self) -> Proof {
        let proofs = self
            .files()
            .map(|(_, entry)| entry.proven.as_ref().map_or(Proof::None, |(_, proof)| *proof));
        proofs.min().unwrap_or(Proof::None)
    }

    fn entry(&mut self, number: usize) -> Option<&mut Entry> {
        self.files.get_mut(number)?.as_mut()
    }

    /// `None`: no log says that.
    fn apply(&mut self, record: &Record) -> Option<()> {
        let chunk_bytes = self.chunk_bytes;
        match record {
            Record::Model { .. } => return None,
            Record::File {
                name,
                len_bytes,
                version,
            } => {
                if self.file(name).is_some() {
                    return None;
                }
                self.complete = false;
                self.files.push(Some(Entry {
                    name: name.clone(),
                    len_bytes: *len_bytes,
                    version: version.clone(),
                    hashes: Vec::new(),
                    proven: None,
                }));
            }
            Record::Version(number, version) => self.entry(*number)?.version = version.clone(),
            Record::Chunk(number, chunk, hash) => {
                let entry = self.entry(*number)?;
                entry.proven = None;
                let known = entry.hashes.len();
                match entry.hashes.get_mut(*chunk) {
                    Some(hash_before) => *hash_before = *hash,
                    None if *chunk == known && *chunk as u64 * chunk_bytes < entry.len_bytes => {
                        entry.hashes.push(*hash)
                    }
                    None => return None,
                }
            }
            Record::Proven(number, sha256, proof) => {
                let entry = self.entry(*number)?;
                if entry.stored_bytes(chunk_bytes) < entry.len_bytes {
                    return None;
                }
                entry.proven = Some((sha256.clone(), *proof));
            }
            Record::Dropped(number) => {
                self.entry(*number)?;
                self.files[*number] = None;
                self.complete = false;
            }
            Record::Absent(name) => self.absent.push(name.clone()),
            Record::Changed => {
                self.absent.clear();
                self.complete = false;
            }
            Record::Complete => self.complete = true,
            Record::Used(ms) => self.used_ms = *ms,
        }
        Some(())
    }
}

/// A model's index, and its log if it is written on.
pub struct Journal<F> {
    index: Index,
    log: Log,
    copies: Vec<F>,
}

/// The right beginning of a log.
#[derive(Default)]
struct Log {
    text: Vec<u8>,
    checksum: u64,
    /// Its length, also where `text` is not kept.
    len_bytes: u64,
}

impl Log {
    fn line(&mut self, record: &Record) -> Vec<u8> {
        let json = serde_json::to_string(record).expect("records are plain data");
        self.checksum = xxh3_64_with_seed(json.as_bytes(), self.checksum);
        let line = format!("{:016x} {json}\n", self.checksum).into_bytes();
        self.len_bytes += line.len() as u64;
        line
    }

    /// Reads what is right of a log's bytes.
    fn parse(bytes: Vec<u8>) -> (Index, Log) {
        let (mut index, mut log) = (Index::default(), Log::default());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let parsed = parse_line(line, log.checksum).and_then(|(record, checksum)| {
                match record {
                    Record::Model {
                        format: FORMAT,
                        id,
                        revision,
                        chunk_bytes: chunk_bytes @ 1..,
                    } if log.len_bytes == 0 => {
                        index = Index {
                            id,
                            revision,
                            chunk_bytes,
                            ..Default::default()
                        }
                    }
                    record if log.len_bytes > 0 => index.apply(&record)?,
                    _ => return None,
                }
                Some(checksum)
            });
            let Some(checksum) = parsed else { break };
            log.checksum = checksum;
            log.len_bytes += line.len() as u64;
        }
        log.text = bytes;
        log.text.truncate(log.len_bytes as usize);
        (index, log)
    }
}

fn parse_line(line: &[u8], before: u64) -> Option<(Record, u64)> {
    let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (checksum, json) = line.split_once(' ')?;
    let checksum = u64::from_str_radix(checksum, 16).ok()?;
    let record =
        (xxh3_64_with_seed(json.as_bytes(), before) == checksum).then(|| serde_json::from_str(json).ok())??;
    Some((record, checksum))
}

/// What the log of a folder says; `None` if there is none, or not one right line of it.
pub async fn look<D: Disk>(disk: &D, folder: &str) -> Result<Option<Index>, DiskError> {
    let mut best: Option<(Index, Log)> = None;
    for copy in COPIES {
        if let Some(file) = disk.open(folder, copy, Access::Read).await? {
            let found = Log::parse(read_all(&file).await?);
            if found.1.len_bytes > best.as_ref().map_or(0, |(_, log)| log.len_bytes) {
                best = Some(found);
            }
        }
    }
    Ok(best.map(|(index, _)| index))
}

async fn read_all<F: DiskFile>(file: &F) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; file.len_bytes().await?.min(MAX_LOG_BYTES) as usize];
    let count = file.read(0, &mut bytes).await?;
    bytes.truncate(count);
    Ok(bytes)
}

impl<F: DiskFile> Journal<F> {
    /// Opens the log of a folder to go on with it, or begins one.
    pub async fn open<D: Disk<File = F>>(
        disk: &D,
        folder: &str,
        id: &str,
        revision: &str,
        chunk_bytes: u64,
    ) -> Result<Journal<F>, DiskError> {
        let (mut copies, mut found) = (Vec::new(), Vec::new());
        for copy in COPIES {
            let file = disk.open(folder, copy, Access::Write).await?;
            let file = file.ok_or_else(|| DiskError::Other(format!("{copy} cannot be made")))?;
            found.push(read_all(&file).await?);
            copies.push(file);
        }
        let lengths: Vec<usize> = found.iter().map(Vec::len).collect();
        let (second, first) = (found.pop().unwrap_or_default(), found.pop().unwrap_or_default());
        let (first, second) = (Log::parse(first), Log::parse(second));
        let right = [first.1.text.len(), second.1.text.len()];
        let (index, mut log) = if second.1.len_bytes > first.1.len_bytes {
            second
        } else {
            first
        };
        let text = std::mem::take(&mut log.text);
        for ((copy, right), length) in copies.iter().zip(right).zip(lengths) {
            if right != text.len() || length != text.len() {
                copy.truncate(0)?;
                copy.write(0, &text)?;
            }
        }
        let mut journal = Journal { index, log, copies };
        if text.is_empty() {
            let (id, revision) = (id.to_owned(), revision.to_owned());
            journal.index = Index {
                id: id.clone(),
                revision: revision.clone(),
                chunk_bytes,
                ..Default::default()
            };
            let line = journal.log.line(&Record::Model {
                format: FORMAT,
                id,
                revision,
                chunk_bytes,
            });
            journal.write(&line)?;
        }
        Ok(journal)
    }

    pub fn read_only(index: Index) -> Journal<F> {
        Journal {
            index,
            log: Log::default(),
            copies: Vec::new(),
        }
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Takes a record into the index and writes it down.
    pub fn note(&mut self, record: &Record) -> Result<(), DiskError> {
        self.index.apply(record).expect("a record that follows from the index");
        if self.copies.is_empty() {
            return Ok(());
        }
        let line = self.log.line(record);
        self.write(&line)
    }

    /// Nothing is written from here on.
    pub fn stop(&mut self) {
        self.copies.clear();
    }

    fn write(&self, line: &[u8]) -> Result<(), DiskError> {
        let at = self.log.len_bytes - line.len() as u64;
        self.copies.iter().try_for_each(|copy| copy.write(at, line))
    }

    pub fn flush(&self) -> Result<(), DiskError> {
        self.copies.iter().try_for_each(DiskFile::flush)
    }
}
