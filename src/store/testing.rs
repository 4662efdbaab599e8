//! A disk in memory that can be cut off at any byte, fill up or lose what was not flushed; a source that can drop the line.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use super::{Access, Disk, DiskError, DiskFile, Origin, Version};
use crate::{
    Result,
    checkpoint::{ByteSource, CheckpointError, MemoryFile, MemoryRepository, Repository},
};

#[derive(Clone, Default)]
pub struct MemoryDisk(Rc<Inner>);

#[derive(Default)]
struct Inner {
    folders: RefCell<BTreeMap<String, Folder>>,
    /// Bytes after which the process dies in the middle of a write.
    dies_after: Cell<Option<u64>>,
    dead: Cell<bool>,
    /// Bytes after which the disk is full, whatever it says of its room.
    full_after: Cell<Option<u64>>,
    room_bytes: Cell<Option<u64>>,
    busy: Cell<bool>,
    now_ms: Cell<u64>,
}

type Folder = BTreeMap<String, Rc<RefCell<Content>>>;

#[derive(Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    flushed: Vec<u8>,
}

impl MemoryDisk {
    pub fn die_after(&self, bytes: u64) {
        self.0.dies_after.set(Some(bytes));
    }

    pub fn fill_after(&self, bytes: Option<u64>) {
        self.0.full_after.set(bytes);
    }

    pub fn set_room(&self, bytes: Option<u64>) {
        self.0.room_bytes.set(bytes);
    }

    pub fn set_busy(&self, busy: bool) {
        self.0.busy.set(busy);
    }

    /// The next process. `power_cut`: of each file, what was not flushed is there up to a random byte, or not at all.
    pub fn restart(&self, power_cut: Option<&mut fastrand::Rng>) {
        self.0.dies_after.set(None);
        self.0.dead.set(false);
        let Some(random) = power_cut else { return };
        for content in self.0.folders.borrow().values().flat_map(BTreeMap::values) {
            let mut content = content.borrow_mut();
            let Content { bytes, flushed } = &mut *content;
            let kept = random.usize(0..=bytes.len());
            let tail: Vec<u8> = bytes.get(flushed.len().min(kept)..kept).unwrap_or_default().to_vec();
            *bytes = [flushed.as_slice(), &tail].concat();
        }
    }

    pub fn names(&self, folder: &str) -> Vec<String> {
        self.0.folders.borrow()[folder].keys().cloned().collect()
    }

    pub fn bytes(&self, folder: &str, file: &str) -> Vec<u8> {
        self.0.folders.borrow()[folder][file].borrow().bytes.clone()
    }

    pub fn change(&self, folder: &str, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.0.folders.borrow()[folder][file].borrow_mut().bytes);
    }

    pub fn lose(&self, folder: &str, file: &str) {
        self.0.folders.borrow_mut().get_mut(folder).unwrap().remove(file);
    }

    pub fn is_dead(&self) -> bool {
        self.0.dead.get()
    }

    fn alive(&self) -> Result<(), DiskError> {
        match self.0.dead.get() {
            true => Err(DiskError::Other("dead".into())),
            false => Ok(()),
        }
    }
}

/// Takes `wanted` from a budget; what was left of it.
fn spend(budget: &Cell<Option<u64>>, wanted: u64) -> u64 {
    let Some(left) = budget.get() else { return wanted };
    budget.set(Some(left.saturating_sub(wanted)));
    left.min(wanted)
}

impl Disk for MemoryDisk {
    type File = OpenFile;

    async fn open(&self, folder: &str, file: &str, access: Access) -> Result<Option<OpenFile>, DiskError> {
        self.alive()?;
        let mut folders = self.0.folders.borrow_mut();
        let found = match access {
            Access::Write if self.0.busy.get() => return Err(DiskError::Busy),
            Access::Write => folders
                .entry(folder.into())
                .or_default()
                .entry(file.into())
                .or_default()
                .clone(),
            Access::Read => match folders.get(folder).and_then(|files| files.get(file)) {
                Some(found) => found.clone(),
                None => return Ok(None),
            },
        };
        let (content, disk) = (found, self.clone());
        Ok(Some(OpenFile { content, disk, access }))
    }

    async fn folders(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.0.folders.borrow().keys().cloned().collect())
    }

    async fn remove(&self, folder: &str) -> Result<(), DiskError> {
        self.0.folders.borrow_mut().remove(folder);
        Ok(())
    }

    async fn room_bytes(&self) -> Option<u64> {
        self.0.room_bytes.get()
    }

    fn now_ms(&self) -> f64 {
        self.0.now_ms.set(self.0.now_ms.get() + 1);
        self.0.now_ms.get() as f64
    }
}

pub struct OpenFile {
    content: Rc<RefCell<Content>>,
    disk: MemoryDisk,
    access: Access,
}

impl DiskFile for OpenFile {
    async fn len_bytes(&self) -> Result<u64, DiskError> {
        self.disk.alive()?;
        Ok(self.content.borrow().bytes.len() as u64)
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<usize, DiskError> {
        self.disk.alive()?;
        let content = self.content.borrow();
        let there = content.bytes.get(offset_bytes as usize..).unwrap_or_default();
        let count = there.len().min(out.len());
        out[..count].copy_from_slice(&there[..count]);
        Ok(count)
    }

    fn write(&self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DiskError> {
        assert_eq!(self.access, Access::Write);
        self.disk.alive()?;
        let Inner {
            dies_after, full_after, ..
        } = &*self.disk.0;
        let room = spend(full_after, bytes.len() as u64);
        let written = spend(dies_after, room) as usize;
        let mut content = self.content.borrow_mut();
        let (begin, end) = (offset_bytes as usize, offset_bytes as usize + written);
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        content.bytes[begin..end].copy_from_slice(&bytes[..written]);
        if written < room as usize {
            self.disk.0.dead.set(true);
        }
        self.disk.alive()?;
        if written < bytes.len() {
            Err(DiskError::Full)
        } else {
            Ok(())
        }
    }

    fn truncate(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.disk.alive()?;
        self.content.borrow_mut().bytes.resize(len_bytes as usize, 0);
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.disk.alive()?;
        let mut content = self.content.borrow_mut();
        content.flushed = content.bytes.clone();
        Ok(())
    }
}

/// Files in memory as a server has them.
#[derive(Clone)]
pub struct Server {
    pub files: MemoryRepository,
    pub versions: BTreeMap<String, Version>,
    /// Bytes after which the line is cut.
    pub cut_after: Rc<Cell<Option<u64>>>,
    pub down: Rc<Cell<bool>>,
    /// Begin and end of all that was read.
    pub sent: Rc<RefCell<Vec<(String, u64, u64)>>>,
    pub requests: Rc<Cell<u32>>,
    /// The disk of the process that asks: one that died asks for nothing more.
    pub process: MemoryDisk,
}

impl Server {
    pub fn new(files: MemoryRepository) -> Server {
        Server {
            files,
            versions: BTreeMap::new(),
            cut_after: Rc::default(),
            down: Rc::default(),
            sent: Rc::default(),
            requests: Rc::default(),
            process: MemoryDisk::default(),
        }
    }

    pub fn sent_bytes(&self) -> u64 {
        self.sent.borrow().iter().map(|(_, begin, end)| end - begin).sum()
    }

    fn ask(&self) -> Result<()> {
        self.requests.set(self.requests.get() + 1);
        if self.down.get() || self.process.is_dead() {
            Err(no_line("server"))
        } else {
            Ok(())
        }
    }

    fn now(&self, file: &str) -> Option<Version> {
        let len_bytes = Some(self.files.get(file)?.len() as u64);
        let known = self.versions.get(file).cloned().unwrap_or_default();
        Some(Version { len_bytes, ..known })
    }
}

pub fn no_line(file: &str) -> crate::Error {
    let (file, reason) = (file.into(), "no connection".into());
    CheckpointError::Read { file, reason }.into()
}

impl Repository for Server {
    type Source = Line;

    async fn open(&self, file: &str) -> Result<Option<Line>> {
        self.ask()?;
        let Some(opened) = self.files.open(file).await? else {
            return Ok(None);
        };
        Ok(Some(Line {
            file: file.into(),
            len_bytes: opened.len_bytes(),
            opened: Some(opened),
            version: self.now(file).unwrap(),
            server: self.clone(),
        }))
    }
}

impl Origin for Server {
    async fn versions(&self, files: &[String]) -> Vec<Result<Option<Version>>> {
        let answer = |file: &String| self.ask().map(|()| self.now(file));
        files.iter().map(answer).collect()
    }

    fn version(&self, _file: &str, source: &Line) -> Version {
        source.version.clone()
    }

    fn resume(&self, file: &str, len_bytes: u64, version: &Version) -> Result<Line> {
        let (file, version, server) = (file.into(), version.clone(), self.clone());
        Ok(Line {
            file,
            len_bytes,
            opened: None,
            version,
            server,
        })
    }
}

/// A file being sent.
pub struct Line {
    file: String,
    len_bytes: u64,
    opened: Option<MemoryFile>,
    version: Version,
    server: Server,
}

impl ByteSource for Line {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        self.server.ask()?;
        let now = self
            .server
            .now(&self.file)
            .filter(|now| now.is(&self.version))
            .ok_or_else(|| {
                let reason = "it changed".into();
                CheckpointError::Read {
                    file: self.file.clone(),
                    reason,
                }
            })?;
        assert_eq!(now.len_bytes, Some(self.len_bytes));
        let count = spend(&self.server.cut_after, out.len() as u64) as usize;
        let sent = (self.file.clone(), offset_bytes, offset_bytes + count as u64);
        self.server.sent.borrow_mut().push(sent);
        if count < out.len() {
            return Err(no_line(&self.file));
        }
        match &self.opened {
            Some(opened) => opened.read(offset_bytes, out).await,
            None => {
                self.server
                    .files
                    .open(&self.file)
                    .await?
                    .unwrap()
                    .read(offset_bytes, out)
                    .await
            }
        }
    }
}
