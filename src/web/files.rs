//! A checkpoint in files that the user picked.

use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, File};

use super::{WebError, js};
use crate::{
    Result,
    checkpoint::{ByteSource, Repository, end_of_file},
    store::Version,
};

/// Picked files under their names in the checkpoint.
pub struct FileRepository {
    files: Vec<(String, File)>,
}

impl FileRepository {
    /// `files`: a JavaScript array of `{ name: string, file: File }`.
    pub fn new(files: &js_sys::Array) -> Result<Self, JsValue> {
        let named = |entry: JsValue| -> Result<(String, File), JsValue> {
            let name = js_sys::Reflect::get(&entry, &"name".into())?;
            let file = js_sys::Reflect::get(&entry, &"file".into())?;
            Ok((name.as_string().unwrap_or_default(), file.dyn_into()?))
        };
        Ok(FileRepository {
            files: files.iter().map(named).collect::<Result<_, _>>()?,
        })
    }
}

impl FileRepository {
    pub(super) fn find(&self, file: &str) -> Option<PickedFile> {
        let (name, file) = self.files.iter().find(|(name, _)| name == file)?;
        let (name, file) = (name.clone(), file.clone());
        Some(PickedFile { name, file })
    }
}

impl Repository for FileRepository {
    type Source = PickedFile;

    async fn open(&self, file: &str) -> Result<Option<PickedFile>> {
        Ok(self.find(file))
    }
}

/// One picked file.
pub struct PickedFile {
    name: String,
    file: File,
}

impl PickedFile {
    /// Which one it is, as far as a file picker tells.
    pub(super) fn version(&self) -> Version {
        Version {
            len_bytes: Some(self.len_bytes()),
            validator: Some(format!("modified {}", self.file.last_modified())),
            digest: None,
        }
    }
}

impl ByteSource for PickedFile {
    fn len_bytes(&self) -> u64 {
        self.file.size() as u64
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let read = read_blob(&self.file, offset_bytes, out).await;
        let count = read.map_err(|thrown| WebError::FileRead {
            file: self.name.clone(),
            detail: js::message(&thrown),
        })?;
        match count == out.len() {
            true => Ok(()),
            false => Err(end_of_file(&self.name, offset_bytes, out.len(), self.len_bytes())),
        }
    }
}

/// Reads from `offset_bytes` on; how many bytes there were.
pub(super) async fn read_blob(blob: &Blob, offset_bytes: u64, out: &mut [u8]) -> Result<usize, JsValue> {
    let end_bytes = offset_bytes + out.len() as u64;
    let part = blob.slice_with_f64_and_f64(offset_bytes as f64, end_bytes as f64)?;
    let bytes = Uint8Array::new(&JsFuture::from(part.array_buffer()).await?);
    let count = out.len().min(bytes.length() as usize);
    bytes.copy_to(&mut out[..count]);
    Ok(count)
}
