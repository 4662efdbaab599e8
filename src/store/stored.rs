//! A repository over another one, which keeps what it reads.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use web_time::Instant;

use super::{
    Access, CHUNK_BYTES, Damage, Digest, Disk, DiskError, DiskFile, Origin, Proof, StoreError, StoredFile, Version,
    digest::Running,
    file::{File, State},
    index::{Journal, Record, look},
    library::{folder_of, list},
};
use crate::{
    Result,
    checkpoint::{ByteSource, Repository},
};

/// Of the time that passes, at most one part in so many is spent on flushing.
const FLUSH_SHARE: u32 = 40;

/// A model in the store.
#[derive(Debug, Clone)]
pub struct Options {
    pub id: String,
    pub revision: String,
    /// What the caller knows of files: Subresource Integrity strings by their names.
    pub integrity: HashMap<String, String>,
    /// The source is never asked.
    pub only: bool,
    /// Nobody else writes this model now.
    pub writes: bool,
    pub chunk_bytes: u64,
}

impl Options {
    pub fn new(id: impl Into<String>, revision: impl Into<String>) -> Options {
        Options {
            id: id.into(),
            revision: revision.into(),
            integrity: HashMap::new(),
            only: false,
            writes: true,
            chunk_bytes: CHUNK_BYTES,
        }
    }

    /// What errors call the model.
    fn model(&self) -> String {
        match self.revision.as_str() {
            "" | "main" => self.id.clone(),
            revision => format!("{} ({revision})", self.id),
        }
    }
}

/// What became of a model's files.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Everything that a load asks for is on this disk.
    pub complete: bool,
    pub bytes_fetched: u64,
    /// Read from the disk, and found to be what was stored.
    pub bytes_read: u64,
    /// What was not, and was fetched again.
    pub healed: Vec<Damage>,
    pub verified: Option<Proof>,
    /// Why the model is not kept.
    pub reason: Option<StoreError>,
}

/// A repository that keeps on a disk what it hands out.
pub struct Stored<O: Origin, D: Disk>(Rc<Shared<O, D>>);

type Opened<O, D> = Option<Rc<File<<O as Repository>::Source, <D as Disk>::File>>>;

pub(super) struct Shared<O: Origin, D: Disk> {
    pub origin: O,
    pub only: bool,
    pub chunk_bytes: u64,
    pub integrity: HashMap<String, Digest>,
    /// The source did not answer, or only with refusals.
    pub unreached: Cell<bool>,
    model: String,
    folder: String,
    disk: Option<D>,
    journal: Option<RefCell<Journal<D::File>>>,
    writes: Cell<bool>,
    flushed: Cell<Instant>,
    flush_cost: Cell<Duration>,
    /// What was opened, by name; `None`: there is no such file.
    files: RefCell<HashMap<String, Opened<O, D>>>,
    report: RefCell<Report>,
}

impl<O: Origin, D: Disk> Stored<O, D> {
    /// Looks what is stored of a model and, where the source can be asked, whether it still is what the source has. What is not
    /// starts anew. `disk`: none to keep nothing, and why, if there is a reason.
    pub async fn open(origin: O, disk: Result<D, Option<StoreError>>, options: Options) -> Result<Stored<O, D>> {
        let parse = |(file, text): (&String, &String)| match Digest::from_sri(text) {
            Some(digest) => Ok((file.clone(), digest)),
            None => Err(StoreError::BadIntegrity {
                file: file.clone(),
                text: text.clone(),
            }),
        };
        let integrity = options.integrity.iter().map(parse).collect::<Result<_, _>>()?;
        let (disk, mut reason) = match disk {
            Ok(disk) => (Some(disk), None),
            Err(reason) => (None, reason),
        };
        let folder = folder_of(&options.id, &options.revision);
        let mut journal = None;
        let mut writes = options.writes;
        if let Some(disk) = &disk {
            let opened = open_journal(disk, &folder, &options).await;
            writes = opened.1.is_none() && options.writes;
            (journal, reason) = opened;
        }
        if options.only && !journal.as_ref().is_some_and(|journal| journal.index().is_proven()) {
            return Err(reason.unwrap_or(not_stored(&options, journal.as_ref())).into());
        }
        let shared = Shared {
            origin,
            only: options.only,
            chunk_bytes: journal
                .as_ref()
                .map_or(options.chunk_bytes, |journal| journal.index().chunk_bytes),
            integrity,
            unreached: Cell::new(false),
            model: options.model(),
            folder,
            disk,
            journal: journal.map(RefCell::new),
            writes: Cell::new(writes),
            flushed: Cell::new(Instant::now()),
            flush_cost: Cell::new(Duration::ZERO),
            files: RefCell::default(),
            report: RefCell::new(Report {
                reason,
                ..Default::default()
            }),
        };
        if !options.only {
            shared.revalidate().await;
        }
        Ok(Stored(Rc::new(shared)))
    }

    /// Reads every file that was opened to its end: what is not here is fetched and kept, what is here is held against its hash.
    /// `progress` hears of bytes done and in all.
    pub async fn fetch_all(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let shared = &self.0;
        let files: Vec<_> = shared.files.borrow().values().flatten().cloned().collect();
        let total_bytes = files.iter().map(|file| file.len_bytes).sum();
        let mut done_bytes = 0;
        let mut piece = Vec::new();
        progress(done_bytes, total_bytes);
        for file in files {
            let stored = StoredFile {
                shared: shared.clone(),
                file,
            };
            let mut at = 0;
            while at < stored.len_bytes() {
                piece.resize(shared.chunk_bytes.min(stored.len_bytes() - at) as usize, 0);
                stored.read(at, &mut piece).await?;
                at += piece.len() as u64;
                done_bytes += piece.len() as u64;
                progress(done_bytes, total_bytes);
            }
        }
        Ok(())
    }

    /// To be called when a load has read what it wants: the model is complete then. What became of it.
    pub async fn finish(&self) -> Result<Report> {
        let shared = &self.0;
        let files: Vec<_> = shared.files.borrow().values().flatten().cloned().collect();
        for file in &files {
            let mut state = file.take_state();
            let proven = match state.hashes.len() == shared.chunks(file.len_bytes) {
                true => shared.prove(file, &mut state).await,
                false => Ok(()),
            };
            if let Some(disk) = state.disk.as_ref().filter(|_| shared.writes())
                && let Err(error) = disk.flush()
            {
                shared.stop_storing(error);
            }
            file.state.set(Some(state));
            proven?;
        }
        let now_ms = shared.disk.as_ref().map_or(0.0, Disk::now_ms) as u64;
        if let Some(journal) = &shared.journal {
            let kept = shared.writes() && files.iter().all(|file| file.number.is_some());
            let all = kept
                && journal
                    .borrow()
                    .index()
                    .files()
                    .all(|(_, entry)| entry.proven.is_some());
            if all && !journal.borrow().index().complete {
                shared.note(&Record::Complete);
            }
            shared.note(&Record::Used(now_ms));
            let flushed = journal.borrow().flush();
            if let Err(error) = flushed {
                shared.stop_storing(error);
            }
        }
        Ok(self.report().await)
    }

    /// What became of the model so far.
    pub async fn report(&self) -> Report {
        let shared = &self.0;
        let mut report = shared.report.borrow().clone();
        if let Some(journal) = &shared.journal {
            let journal = journal.borrow();
            report.complete = journal.index().is_proven();
            report.verified = Some(journal.index().proof());
        }
        if let (Some(StoreError::Quota { others, .. }), Some(disk)) = (&mut report.reason, &shared.disk) {
            let stored = list(disk).await.unwrap_or_default();
            let rest = stored.into_iter().filter(|summary| summary.folder != shared.folder);
            *others = rest.map(|summary| (summary.id, summary.bytes)).collect();
        }
        report
    }
}

/// The index of a model and its log, if there may be one and this page may write it; why it may not.
async fn open_journal<D: Disk>(
    disk: &D,
    folder: &str,
    options: &Options,
) -> (Option<Journal<D::File>>, Option<StoreError>) {
    let Options { id, revision, .. } = options;
    let wrong = |error| Some(StoreError::of_disk(error, &options.model(), 0));
    let index = match look(disk, folder).await {
        Ok(index) => index,
        Err(error) => return (None, wrong(error)),
    };
    if options.only && index.is_none() {
        return (None, None);
    }
    let mut reason = None;
    if options.writes {
        match Journal::open(disk, folder, id, revision, options.chunk_bytes).await {
            Ok(journal) => return (Some(journal), None),
            Err(error) => reason = wrong(error),
        }
    }
    (index.map(Journal::read_only), reason)
}

fn not_stored<F: DiskFile>(options: &Options, journal: Option<&Journal<F>>) -> StoreError {
    StoreError::NotStored {
        model: options.model(),
        begun: journal.is_some_and(|journal| journal.index().files().next().is_some()),
    }
}

impl<O: Origin, D: Disk> Shared<O, D> {
    pub fn chunks(&self, len_bytes: u64) -> usize {
        len_bytes.div_ceil(self.chunk_bytes) as usize
    }

    pub fn writes(&self) -> bool {
        self.writes.get()
    }

    pub fn count(&self, count: impl FnOnce(&mut Report)) {
        count(&mut self.report.borrow_mut());
    }

    /// Whether this was found before.
    pub fn healed(&self, damage: &Damage) -> bool {
        self.report.borrow().healed.contains(damage)
    }

    pub fn note(&self, record: &Record) {
        let Some(journal) = &self.journal else { return };
        let noted = journal.borrow_mut().note(record);
        if let Err(error) = noted {
            self.stop_storing(error);
        }
    }

    /// Goes on without storing: what is there stays and is read.
    pub fn stop_storing(&self, error: DiskError) {
        let needed_bytes = self.missing_bytes();
        self.stop(StoreError::of_disk(error, &self.model, needed_bytes));
    }

    fn stop(&self, reason: StoreError) {
        if self.writes.replace(false) {
            self.count(|report| report.reason = Some(reason));
        }
        if let Some(journal) = &self.journal {
            journal.borrow_mut().stop();
        }
    }

    /// Bytes of begun files that are still to come.
    fn missing_bytes(&self) -> u64 {
        let Some(journal) = self.journal.as_ref().map(RefCell::borrow) else {
            return 0;
        };
        let missing = |(_, entry): (_, &super::index::Entry)| entry.len_bytes - entry.stored_bytes(self.chunk_bytes);
        journal.index().files().map(missing).sum()
    }

    /// Stops storing if what is still to come, and `more_bytes`, has no room.
    async fn check_room(&self, more_bytes: u64) {
        let Some(disk) = self.disk.as_ref().filter(|_| self.writes()) else {
            return;
        };
        let needed_bytes = self.missing_bytes() + more_bytes;
        if needed_bytes > 0
            && let Some(room_bytes) = disk.room_bytes().await
            && room_bytes < needed_bytes
        {
            let (model, room_bytes, others) = (self.model.clone(), Some(room_bytes), Vec::new());
            self.stop(StoreError::Quota {
                model,
                needed_bytes,
                room_bytes,
                others,
            });
        }
    }

    /// Flushes what was written if that was not long ago for what it costs.
    pub fn flush_if_due(&self, file: &D::File) {
        if self.flushed.get().elapsed() < self.flush_cost.get() * FLUSH_SHARE {
            return;
        }
        let begin = Instant::now();
        let journal = self.journal.as_ref().map(RefCell::borrow);
        let flushed = file
            .flush()
            .and_then(|()| journal.as_ref().map_or(Ok(()), |journal| journal.flush()));
        drop(journal);
        self.flush_cost.set(begin.elapsed());
        self.flushed.set(Instant::now());
        if let Err(error) = flushed {
            self.stop_storing(error);
        }
    }

    /// Asks the source about every file in the index. Files that are others by now start anew.
    async fn revalidate(&self) {
        let Some(journal) = &self.journal else { return };
        let (names, entries): (Vec<String>, Vec<_>) = {
            let journal = journal.borrow();
            let files = journal.index().files();
            files
                .map(|(number, entry)| (entry.name.clone(), (number, entry.clone())))
                .unzip()
        };
        if names.is_empty() {
            return;
        }
        let answers = self.origin.versions(&names).await;
        self.unreached.set(answers.iter().all(Result::is_err));
        let is_changed = |(answer, (_, entry)): (&Result<Option<Version>>, &(usize, super::index::Entry))| matches!(answer, Ok(Some(now)) if !now.is(&entry.version));
        let changed = answers.iter().zip(&entries).any(is_changed);
        let whole = journal.borrow().index().is_proven();
        if changed {
            self.note(&Record::Changed);
        }
        for (answer, (number, entry)) in answers.iter().zip(&entries) {
            let nameless = entry.version.validator.is_none()
                && entry.version.digest.is_none()
                && !self.integrity.contains_key(&entry.name);
            match answer {
                // A source that has lost a file, and nothing else, is no reason to lose it here.
                Ok(None) if changed => self.note(&Record::Dropped(*number)),
                _ if is_changed((answer, &(*number, entry.clone()))) => self.note(&Record::Dropped(*number)),
                // A load sees one revision: what cannot be told from another one counts only where all of it is there.
                _ if nameless && (changed || !whole) => self.note(&Record::Dropped(*number)),
                Ok(Some(now)) if now.digest.is_some() && now.digest != entry.version.digest => {
                    self.note(&Record::Version(*number, now.clone()));
                }
                _ => {}
            }
        }
    }

    async fn find(&self, name: &str, optional: bool) -> Result<Opened<O, D>> {
        if let Some(file) = self.find_stored(name).await {
            return Ok(Some(file));
        }
        if let Some(journal) = &self.journal {
            let journal = journal.borrow();
            let settled = journal.index().is_proven() && (self.only || self.unreached.get());
            if settled || journal.index().absent.iter().any(|absent| absent == name) {
                return Ok(None);
            }
        }
        let source = match optional {
            true => self.origin.open_optional(name).await?,
            false => self.origin.open(name).await?,
        };
        match source {
            Some(source) => Ok(Some(self.begin(name, source).await)),
            None => {
                self.note(&Record::Absent(name.into()));
                Ok(None)
            }
        }
    }

    async fn find_stored(&self, name: &str) -> Option<Rc<File<O::Source, D::File>>> {
        let (number, entry) = {
            let journal = self.journal.as_ref()?.borrow();
            let (number, entry) = journal.index().file(name)?;
            (number, entry.clone())
        };
        if entry.proven.is_none() {
            self.check_room(0).await;
        }
        let access = if self.writes() { Access::Write } else { Access::Read };
        let disk = match self.disk.as_ref()?.open(&self.folder, name, access).await {
            Ok(disk) => disk,
            Err(error) => {
                self.stop_storing(error);
                None
            }
        };
        let expected = self.expected(name, &entry.version);
        let proven = entry.proven.as_ref().map(|(sha256, _)| sha256);
        let is_proven = proven.is_some()
            && expected
                .iter()
                .all(|digest| Some(digest) == proven || digest.algorithm == super::Algorithm::GitBlob);
        let file = Rc::new(File {
            name: name.into(),
            len_bytes: entry.len_bytes,
            number: Some(number),
            state: Cell::new(Some(State {
                source: None,
                disk,
                on_disk: entry.hashes.len(),
                hashes: entry.hashes,
                running: (!is_proven).then(|| Running::new(entry.len_bytes, &expected)),
                buffer: Vec::new(),
                holds: None,
            })),
            version: entry.version,
            expected,
        });
        if let Some((sha256, proof)) = entry.proven.filter(|_| is_proven)
            && self.proof(&file) > proof
        {
            self.note(&Record::Proven(number, sha256, self.proof(&file)));
        }
        Some(file)
    }

    /// A file that the index does not have: from here on it is kept, if there is room.
    async fn begin(&self, name: &str, source: O::Source) -> Rc<File<O::Source, D::File>> {
        let len_bytes = source.len_bytes();
        let version = Version {
            len_bytes: Some(len_bytes),
            ..self.origin.version(name, &source)
        };
        self.check_room(len_bytes).await;
        let (mut number, mut disk) = (None, None);
        if let (Some(store), Some(journal), true) = (&self.disk, &self.journal, self.writes()) {
            let opened = store.open(&self.folder, name, Access::Write).await;
            match opened.and_then(|file| file.map(|file| file.truncate(0).map(|()| file)).transpose()) {
                Ok(file) => {
                    disk = file;
                    number = Some(journal.borrow().index().next_number());
                    self.note(&Record::File {
                        name: name.into(),
                        len_bytes,
                        version: version.clone(),
                    });
                }
                Err(error) => self.stop_storing(error),
            }
        }
        let expected = self.expected(name, &version);
        Rc::new(File {
            name: name.into(),
            len_bytes,
            number,
            state: Cell::new(Some(State {
                source: Some(source),
                disk,
                hashes: Vec::new(),
                on_disk: 0,
                running: Some(Running::new(len_bytes, &expected)),
                buffer: Vec::new(),
                holds: None,
            })),
            version,
            expected,
        })
    }

    fn expected(&self, name: &str, version: &Version) -> Vec<Digest> {
        let given = self.integrity.get(name);
        version.digest.iter().chain(given).cloned().collect()
    }
}

impl<O: Origin, D: Disk> Repository for Stored<O, D> {
    type Source = StoredFile<O, D>;

    async fn open(&self, file: &str) -> Result<Option<Self::Source>> {
        self.open_file(file, false).await
    }

    async fn open_optional(&self, file: &str) -> Result<Option<Self::Source>> {
        self.open_file(file, true).await
    }
}

impl<O: Origin, D: Disk> Stored<O, D> {
    async fn open_file(&self, name: &str, optional: bool) -> Result<Option<StoredFile<O, D>>> {
        let shared = self.0.clone();
        let known = shared.files.borrow().get(name).cloned();
        let file = match known {
            Some(file) => file,
            None => {
                let found = shared.find(name, optional).await?;
                shared.files.borrow_mut().insert(name.into(), found.clone());
                found
            }
        };
        Ok(file.map(|file| StoredFile { shared, file }))
    }
}
