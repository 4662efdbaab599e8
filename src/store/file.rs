//! One stored file: chunks from the disk, held against their hashes, or from the source, kept on their way.

use std::{cell::Cell, rc::Rc};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Algorithm, Damage, Digest, Disk, DiskFile, Origin, Proof, StoreError, Version, digest::Running, index::Record,
    stored::Shared,
};
use crate::{
    Result,
    checkpoint::{ByteSource, end_of_file},
};

/// A file of a [`Stored`](super::Stored) repository.
pub struct StoredFile<O: Origin, D: Disk> {
    pub(super) shared: Rc<Shared<O, D>>,
    pub(super) file: Rc<File<O::Source, D::File>>,
}

impl<O: Origin, D: Disk> ByteSource for StoredFile<O, D> {
    fn len_bytes(&self) -> u64 {
        self.file.len_bytes
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let file = &*self.file;
        if offset_bytes.saturating_add(out.len() as u64) > file.len_bytes {
            return Err(end_of_file(&file.name, offset_bytes, out.len(), file.len_bytes));
        }
        let mut state = file.take_state();
        let read = self.shared.read(file, &mut state, offset_bytes, out).await;
        file.state.set(Some(state));
        read
    }
}

/// What is open of a file, shared by all who opened it.
pub(super) struct File<S, F> {
    pub name: String,
    pub len_bytes: u64,
    pub version: Version,
    /// What its bytes must hash to.
    pub expected: Vec<Digest>,
    /// Its number in the index, if it has one there.
    pub number: Option<usize>,
    /// Taken out while a read is under way.
    pub state: Cell<Option<State<S, F>>>,
}

pub(super) struct State<S, F> {
    /// Opened when first needed.
    pub source: Option<S>,
    pub disk: Option<F>,
    /// Of every chunk that was there once, from the beginning on.
    pub hashes: Vec<u64>,
    /// How many of these chunks the disk should have.
    pub on_disk: usize,
    /// Hashes under way; `None` once the file is proven.
    pub running: Option<Running>,
    pub buffer: Vec<u8>,
    /// The chunk that the buffer holds.
    pub holds: Option<usize>,
}

impl<S, F> File<S, F> {
    pub fn take_state(&self) -> State<S, F> {
        self.state.take().expect("a file is read by one reader at a time")
    }

    fn damage(&self, chunk_bytes: u64, chunk: usize) -> Damage {
        let offset_bytes = chunk as u64 * chunk_bytes;
        Damage {
            file: self.name.clone(),
            offset_bytes,
            end_bytes: self.len_bytes.min(offset_bytes + chunk_bytes),
        }
    }
}

impl<O: Origin, D: Disk> Shared<O, D> {
    async fn read(
        &self,
        file: &File<O::Source, D::File>,
        state: &mut State<O::Source, D::File>,
        offset_bytes: u64,
        out: &mut [u8],
    ) -> Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            let at = offset_bytes + filled as u64;
            let chunk = (at / self.chunk_bytes) as usize;
            self.load(file, state, chunk).await?;
            let chunk = &state.buffer[(at % self.chunk_bytes) as usize..];
            let count = chunk.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&chunk[..count]);
            filled += count;
        }
        Ok(())
    }

    /// Brings a chunk into the buffer. The last chunk of a file comes only if the whole file is what was published.
    async fn load(
        &self,
        file: &File<O::Source, D::File>,
        state: &mut State<O::Source, D::File>,
        chunk: usize,
    ) -> Result<()> {
        if state.holds == Some(chunk) {
            return Ok(());
        }
        for next in state.hashes.len()..=chunk {
            self.fetch(file, state, next).await?;
        }
        if chunk + 1 == self.chunks(file.len_bytes) {
            self.prove(file, state).await?;
        }
        match state.holds {
            Some(held) if held == chunk => Ok(()),
            _ => self.load_again(file, state, chunk).await,
        }
    }

    /// Brings the first chunk that was never there from the source, and keeps it.
    async fn fetch(
        &self,
        file: &File<O::Source, D::File>,
        state: &mut State<O::Source, D::File>,
        chunk: usize,
    ) -> Result<()> {
        self.catch_up(file, state, chunk).await?;
        self.read_source(file, state, chunk, false).await?;
        let hash = xxh3_64(&state.buffer);
        state.hashes.push(hash);
        feed(state, chunk);
        self.keep(file, state, chunk, hash);
        Ok(())
    }

    /// Brings a chunk that was there before: from the disk, or, if it is damaged or was not kept, from the source.
    async fn load_again(
        &self,
        file: &File<O::Source, D::File>,
        state: &mut State<O::Source, D::File>,
        chunk: usize,
    ) -> Result<()> {
        if chunk >= state.on_disk {
            self.read_source(file, state, chunk, false).await?;
            if xxh3_64(&state.buffer) != state.hashes[chunk] {
                return Err(unsteady(file.damage(self.chunk_bytes, chunk)));
            }
        } else if self.read_disk(file, state, chunk).await {
            self.count(|report| report.bytes_read += state.buffer.len() as u64);
        } else {
            self.heal(file, state, chunk).await?;
        }
        feed(state, chunk);
        Ok(())
    }

    /// Fills the buffer from the disk; false if what is there is not what was stored.
    async fn read_disk(
        &self,
        file: &File<O::Source, D::File>,
        state: &mut State<O::Source, D::File>,
        chunk: usize,
    ) -> bool {
        let offset_bytes = self.aim(file, state, chunk);
        let Some(disk) = &state.disk else { return false };
        let read = disk.read(offset_bytes, &mut state.buffer).await;
        let right = read == Ok(state.buffer.len()) && xxh3_64(&state.buffer) == state.hashes[chunk];
        state.holds = right.then_some(chunk);
        right
    }

    /// Fetches one chunk that the disk does not have as it was, and puts it back.
    async fn heal(
        &self,
        file: &File<O::Source, D::File>,
        state: &mut State<O::Source, D::File>,
        chunk: usize,
    ) -> Result<()> {
        let damage = file.damage(self.chunk_bytes, chunk);
        let fetched = match self.only {
            true => None,
            false => Some(self.read_source(file, state, chunk, true).await),
        };
        match fetched {
            Some(Ok(())) => {}
            // The source is there and has something to say.
            Some(Err(error)) if !self.unreached.get() => return Err(error),
            _ => {
                let Damage {
                    file,
                    offset_bytes,
                    end_bytes,
                } = damage;
                return Err(StoreError::Damaged {
                    file,
                    offset_bytes,
                    end_bytes,
                }
                .into());
            }
        }
        let hash = xxh3_64(&state.buffer);
        if hash != state.hashes[chunk] {
            if self.healed(&damage) {
                return Err(unsteady(damage));
            }
            self.adopt(file, state, chunk, hash);
        }
        if let Some(disk) = state.disk.as_ref().filter(|_| self.writes())
            && let Err(error) = disk.write(chunk as u64 * self.chunk_bytes, &state.buffer)
        {
            self.stop_storing(error);
        }
        self.count(|report| report.healed.push(damage));
        Ok(())
    }

    /// The hash of a chunk was wrong, too, as the source has other bytes under the same name: those count, and the file must be
    /// proven anew.
    fn adopt(&self, file: &File<O::Source, D::File>, state: &mut State<O::Source, D::File>, chunk: usize, hash: u64) {
        state.hashes[chunk] = hash;
        state.running = Some(Running::new(file.len_bytes, &file.expected));
        if let Some(number) = file.number {
            self.note(&Record::Chunk(number, chunk, hash));
        }
    }

    /// Fills the buffer from the source. `alone`: what follows is not wanted.
    async fn read_source(
        &self,
        file: &File<O::Source, D::File>,
        state: &mut State<O::Source, D::File>,
        chunk: usize,
        alone: bool,
    ) -> Result<()> {
        let offset_bytes = self.aim(file, state, chunk);
        let source = match &mut state.source {
            Some(source) => source,
            none => none.insert(self.origin.resume(&file.name, file.len_bytes, &file.version)?),
        };
        match alone {
            true => self.origin.read_alone(source, offset_bytes, &mut state.buffer).await?,
            false => source.read(offset_bytes, &mut state.buffer).await?,
        }
        state.holds = Some(chunk);
        self.count(|report| report.bytes_fetched += state.buffer.len() as u64);
        Ok(())
    }

    /// Makes the buffer as long as the chunk, whose place in the file is returned.
    fn aim(&self, file: &File<O::Source, D::File>, state: &mut State<O::Source, D::File>, chunk: usize) -> u64 {
        let offset_bytes = chunk as u64 * self.chunk_bytes;
        state.holds = None;
        state
            .buffer
            .resize(self.chunk_bytes.min(file.len_bytes - offset_bytes) as usize, 0);
        offset_bytes
    }

    /// Writes the chunk in the buffer to the disk, if the file is kept.
    fn keep(&self, file: &File<O::Source, D::File>, state: &mut State<O::Source, D::File>, chunk: usize, hash: u64) {
        let (Some(number), Some(disk)) = (file.number, &state.disk) else {
            return;
        };
        if !self.writes() || state.on_disk != chunk {
            return;
        }
        match disk.write(chunk as u64 * self.chunk_bytes, &state.buffer) {
            Ok(()) => {
                state.on_disk += 1;
                self.note(&Record::Chunk(number, chunk, hash));
                self.flush_if_due(disk);
            }
            Err(error) => self.stop_storing(error),
        }
    }

    /// Runs the hashes up to `chunk`, over chunks that were there before.
    async fn catch_up(
        &self,
        file: &File<O::Source, D::File>,
        state: &mut State<O::Source, D::File>,
        chunk: usize,
    ) -> Result<()> {
        while let Some(next) = state
            .running
            .as_ref()
            .map(|running| running.next_chunk)
            .filter(|next| *next < chunk)
        {
            self.load_again(file, state, next).await?;
        }
        Ok(())
    }

    /// Holds the whole file, all of whose chunks were there, against what is published of it.
    pub(super) async fn prove(
        &self,
        file: &File<O::Source, D::File>,
        state: &mut State<O::Source, D::File>,
    ) -> Result<()> {
        self.catch_up(file, state, self.chunks(file.len_bytes)).await?;
        let Some(running) = state.running.take() else {
            return Ok(());
        };
        let found = running.finish();
        for expected in &file.expected {
            let found = found.iter().find(|digest| digest.algorithm == expected.algorithm);
            let found = found.expect("all that is expected is computed");
            if found != expected {
                self.drop_file(file, state);
                let (file, expected, found) = (file.name.clone(), expected.clone(), found.clone());
                return Err(StoreError::Integrity { file, expected, found }.into());
            }
        }
        if let Some(number) = file.number
            && state.on_disk == self.chunks(file.len_bytes)
        {
            let sha256 = found.into_iter().find(|digest| digest.algorithm == Algorithm::Sha256);
            let sha256 = sha256.expect("always computed");
            self.note(&Record::Proven(number, sha256, self.proof(file)));
        }
        Ok(())
    }

    pub(super) fn proof(&self, file: &File<O::Source, D::File>) -> Proof {
        match () {
            _ if self.integrity.contains_key(&file.name) => Proof::Sri,
            _ if file.expected.is_empty() => Proof::None,
            _ => Proof::Sha256,
        }
    }

    /// What came was something else: nothing of it is kept.
    fn drop_file(&self, file: &File<O::Source, D::File>, state: &mut State<O::Source, D::File>) {
        if let Some(number) = file.number {
            self.note(&Record::Dropped(number));
        }
        if let Some(disk) = state.disk.take().filter(|_| self.writes()) {
            // Begun anew, it is emptied again.
            let _ = disk.truncate(0);
        }
        state.on_disk = 0;
        state.holds = None;
        state.hashes.clear();
        state.running = Some(Running::new(file.len_bytes, &file.expected));
    }
}

fn unsteady(
    Damage {
        file,
        offset_bytes,
        end_bytes,
    }: Damage,
) -> crate::Error {
    StoreError::Unsteady {
        file,
        offset_bytes,
        end_bytes,
    }
    .into()
}

/// Feeds the chunk in the buffer to the hashes, if it is the next one.
fn feed<S, F>(state: &mut State<S, F>, chunk: usize) {
    if let Some(running) = state.running.as_mut().filter(|running| running.next_chunk == chunk) {
        running.feed(&state.buffer);
    }
}
