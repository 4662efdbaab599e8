//! A checkpoint in files that the user picked.

use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::File;

use super::{WebError, js};
use crate::{
    Result,
    checkpoint::{ByteSource, Repository, end_of_file},
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

impl Repository for FileRepository {
    type Source = PickedFile;

    async fn open(&self, file: &str) -> Result<Option<PickedFile>> {
        let found = self.files.iter().find(|(name, _)| name == file);
        Ok(found.map(|(name, file)| PickedFile {
            name: name.clone(),
            file: file.clone(),
        }))
    }
}

/// One picked file.
pub struct PickedFile {
    name: String,
    file: File,
}

impl ByteSource for PickedFile {
    fn len_bytes(&self) -> u64 {
        self.file.size() as u64
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let end_bytes = offset_bytes + out.len() as u64;
        let unreadable = |thrown: JsValue| WebError::FileRead {
            file: self.name.clone(),
            detail: js::message(&thrown),
        };
        let blob = self
            .file
            .slice_with_f64_and_f64(offset_bytes as f64, end_bytes as f64)
            .map_err(unreadable)?;
        let bytes = Uint8Array::new(&JsFuture::from(blob.array_buffer()).await.map_err(unreadable)?);
        if bytes.length() as usize != out.len() {
            return Err(end_of_file(&self.name, offset_bytes, out.len(), self.len_bytes()));
        }
        bytes.copy_to(out);
        Ok(())
    }
}
