//! The store's disk in a browser: the origin private file system, one folder a model below `mobilemoe/`.
//!
//! Files are written through sync access handles, which dedicated workers alone have, and which lock a file: a page that loads
//! a model holds the model's Web Lock meanwhile. Whoever only looks reads a snapshot, which needs no lock.

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    DomException, File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemReadWriteOptions, FileSystemRemoveOptions, FileSystemSyncAccessHandle,
    StorageEstimate, StorageManager,
};

use super::{files::read_blob, js};
use crate::store::{Access, Disk, DiskError, DiskFile};

/// The folder of all models. A page that looks for files by itself (`store.export`) knows it, too.
const ROOT: &str = "mobilemoe";

/// This origin's private file system.
#[derive(Clone)]
pub struct Opfs {
    root: FileSystemDirectoryHandle,
}

impl Opfs {
    /// Fails where there is none: an old browser, some private windows.
    pub async fn open() -> Result<Opfs, DiskError> {
        let storage = storage()?;
        let root: FileSystemDirectoryHandle = settle(storage.get_directory()).await?;
        let options = FileSystemGetDirectoryOptions::new();
        options.set_create(true);
        let root = settle(root.get_directory_handle_with_options(ROOT, &options)).await?;
        Ok(Opfs { root })
    }

    async fn file(&self, folder: &str, file: &str, create: bool) -> Result<FileSystemFileHandle, DiskError> {
        let options = FileSystemGetDirectoryOptions::new();
        options.set_create(create);
        let folder: FileSystemDirectoryHandle =
            settle(self.root.get_directory_handle_with_options(folder, &options)).await?;
        let options = FileSystemGetFileOptions::new();
        options.set_create(create);
        settle(folder.get_file_handle_with_options(&escape(file), &options)).await
    }
}

/// A file of a subfolder under one name.
fn escape(file: &str) -> String {
    file.replace('%', "%25").replace('/', "%2F")
}

impl Disk for Opfs {
    type File = OpfsFile;

    async fn open(&self, folder: &str, file: &str, access: Access) -> Result<Option<OpfsFile>, DiskError> {
        match access {
            Access::Write => {
                let handle = self.file(folder, file, true).await?;
                if Reflect::get(&handle, &"createSyncAccessHandle".into()).is_ok_and(|method| method.is_undefined()) {
                    return Err(DiskError::Other(
                        "only a dedicated worker can write to the origin private file system".into(),
                    ));
                }
                Ok(Some(OpfsFile::Open(settle(handle.create_sync_access_handle()).await?)))
            }
            Access::Read => {
                let snapshot = async { settle(self.file(folder, file, false).await?.get_file()).await };
                match snapshot.await {
                    Ok(file) => Ok(Some(OpfsFile::Snapshot(file))),
                    Err(DiskError::Missing) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn folders(&self) -> Result<Vec<String>, DiskError> {
        let (names, mut folders) = (self.root.keys(), Vec::new());
        loop {
            let next: JsValue = settle(names.next().map_err(failure)?).await?;
            if Reflect::get(&next, &"done".into()).map_err(failure)?.is_truthy() {
                return Ok(folders);
            }
            folders.extend(Reflect::get(&next, &"value".into()).map_err(failure)?.as_string());
        }
    }

    async fn remove(&self, folder: &str) -> Result<(), DiskError> {
        let options = FileSystemRemoveOptions::new();
        options.set_recursive(true);
        match settle::<JsValue>(self.root.remove_entry_with_options(folder, &options)).await {
            Ok(_) | Err(DiskError::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn room_bytes(&self) -> Option<u64> {
        let estimate: StorageEstimate = settle(storage().ok()?.estimate().ok()?).await.ok()?;
        Some((estimate.get_quota()? - estimate.get_usage()?).max(0.0) as u64)
    }

    fn now_ms(&self) -> f64 {
        js_sys::Date::now()
    }
}

/// A file of the origin private file system.
pub enum OpfsFile {
    /// Nobody else can open it meanwhile.
    Open(FileSystemSyncAccessHandle),
    /// As it was when it was opened.
    Snapshot(File),
}

impl OpfsFile {
    fn handle(&self) -> Result<&FileSystemSyncAccessHandle, DiskError> {
        match self {
            OpfsFile::Open(handle) => Ok(handle),
            OpfsFile::Snapshot(_) => Err(DiskError::Other("the file is open to be read".into())),
        }
    }
}

impl Drop for OpfsFile {
    fn drop(&mut self) {
        if let OpfsFile::Open(handle) = self {
            handle.close();
        }
    }
}

impl DiskFile for OpfsFile {
    async fn len_bytes(&self) -> Result<u64, DiskError> {
        Ok(match self {
            OpfsFile::Open(handle) => handle.get_size().map_err(failure)? as u64,
            OpfsFile::Snapshot(file) => file.size() as u64,
        })
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<usize, DiskError> {
        match self {
            OpfsFile::Open(handle) => {
                let count = handle.read_with_u8_array_and_options(out, &at(offset_bytes));
                Ok(count.map_err(failure)? as usize)
            }
            OpfsFile::Snapshot(file) => read_blob(file, offset_bytes, out).await.map_err(failure),
        }
    }

    fn write(&self, offset_bytes: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let handle = self.handle()?;
        let mut written = 0;
        while written < bytes.len() {
            let place = at(offset_bytes + written as u64);
            // Copied: browsers differ in whether they take a view of a WASM module's memory.
            let rest = Uint8Array::from(&bytes[written..]);
            let count = handle.write_with_buffer_source_and_options(&rest, &place);
            match count.map_err(failure)? as usize {
                0 => return Err(DiskError::Full),
                count => written += count,
            }
        }
        Ok(())
    }

    fn truncate(&self, len_bytes: u64) -> Result<(), DiskError> {
        self.handle()?.truncate_with_f64(len_bytes as f64).map_err(failure)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.handle()?.flush().map_err(failure)
    }
}

fn at(offset_bytes: u64) -> FileSystemReadWriteOptions {
    let options = FileSystemReadWriteOptions::new();
    options.set_at(offset_bytes as f64);
    options
}

fn storage() -> Result<StorageManager, DiskError> {
    let storage = Reflect::get(&js::worker().navigator(), &"storage".into()).unwrap_or_default();
    let has_files = Reflect::get(&storage, &"getDirectory".into()).is_ok_and(|method| method.is_function());
    match has_files {
        true => Ok(storage.unchecked_into()),
        false => Err(DiskError::Other(
            "this browser offers no origin private file system here".into(),
        )),
    }
}

async fn settle<T: JsCast>(promise: Promise) -> Result<T, DiskError> {
    Ok(JsFuture::from(promise).await.map_err(failure)?.unchecked_into())
}

/// What a browser's file system throws.
fn failure(thrown: JsValue) -> DiskError {
    let name = thrown.dyn_ref::<DomException>().map(DomException::name);
    match name.as_deref() {
        Some("QuotaExceededError") => DiskError::Full,
        Some("NoModificationAllowedError" | "InvalidStateError") => DiskError::Busy,
        Some("NotFoundError") => DiskError::Missing,
        _ => DiskError::Other(js::message(&thrown)),
    }
}
