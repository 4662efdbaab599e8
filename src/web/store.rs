//! Models kept on this device, as the package's worker asks for them.

use std::collections::HashMap;

use js_sys::Function;
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;

use super::{
    Opfs, WebError, WebFiles, WebRepository,
    engine::{WebCheckpoint, open_text, parse},
    js,
};
use crate::{
    Error,
    checkpoint::Checkpoint,
    store::{self, Damage, DiskError, Options, Proof, Report, StoreError, Stored, Summary, folder_of},
};

/// How a checkpoint's files are kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoreRequest {
    id: String,
    revision: String,
    /// On this device; if not, they are only held against `integrity`.
    keep: bool,
    /// The source is never asked.
    only: bool,
    /// This page alone may write them now.
    writes: bool,
    integrity: HashMap<String, String>,
}

/// What became of a model's files: `facts.stored`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredFacts {
    complete: bool,
    bytes_fetched: f64,
    bytes_read: f64,
    healed: Vec<Damage>,
    verified: Option<Proof>,
    reason: Option<Reason>,
}

#[derive(Serialize)]
struct Reason {
    code: &'static str,
    message: String,
}

impl From<Report> for StoredFacts {
    fn from(report: Report) -> StoredFacts {
        let reason = report.reason.map(|error| Reason {
            code: error.code(),
            message: error.to_string(),
        });
        StoredFacts {
            complete: report.complete,
            bytes_fetched: report.bytes_fetched as f64,
            bytes_read: report.bytes_read as f64,
            healed: report.healed,
            verified: report.verified,
            reason,
        }
    }
}

#[wasm_bindgen]
impl WebCheckpoint {
    /// The same checkpoint, its files kept on this device as they are read: a [`StoreRequest`].
    pub async fn stored(self, request: JsValue) -> Result<WebCheckpoint, JsValue> {
        let open = async {
            let request: StoreRequest = parse(request)?;
            let WebRepository::Files(files) = self.0 else {
                let detail = "`store` goes with files that are fetched or picked".into();
                return Err(Error::from(WebError::BadOptions { detail }));
            };
            if !request.only {
                files.fetch_listing().await;
            }
            let disk = match request.keep {
                true => Opfs::open().await.map_err(Some),
                false => Err(None),
            };
            if let (Ok(_), WebFiles::Http(repository)) = (&disk, &files) {
                repository.bypass_cache();
            }
            let disk = disk.map_err(|error| error.map(|error| StoreError::of_disk(error, &request.id, 0)));
            let options = Options {
                integrity: request.integrity,
                only: request.only,
                writes: request.writes,
                ..Options::new(request.id, request.revision)
            };
            Ok(WebRepository::Stored(Stored::open(files, disk, options).await?))
        };
        open.await.map(WebCheckpoint).map_err(js::to_js)
    }

    /// Whether bytes will come from the web, not from this device.
    pub async fn fetches(&self) -> bool {
        match &self.0 {
            WebRepository::Files(files) => matches!(files, WebFiles::Http(_)),
            WebRepository::Stored(stored) => !stored.report().await.complete,
            WebRepository::Synthetic(_) => false,
        }
    }

    /// Fetches all that a load would read, without a GPU. `progress(bytesDone, bytesTotal)`; what became of it.
    pub async fn download(self, progress: Function) -> Result<JsValue, JsValue> {
        let download = async {
            let checkpoint = Checkpoint::open(self.0).await?;
            open_text(checkpoint.repository()).await?;
            let WebRepository::Stored(stored) = checkpoint.repository() else {
                let detail = "`store` goes with files that are fetched or picked".into();
                return Err(Error::from(WebError::BadOptions { detail }));
            };
            stored.fetch_all(&mut js::progress(&progress)).await?;
            Ok(StoredFacts::from(stored.finish().await?))
        };
        js::plain(&download.await.map_err(js::to_js)?)
    }
}

/// A model on this device.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StoredModel {
    id: String,
    revision: String,
    bytes: f64,
    bytes_total: f64,
    complete: bool,
    verified: Proof,
    last_used: Option<f64>,
}

impl From<Summary> for StoredModel {
    fn from(summary: Summary) -> StoredModel {
        StoredModel {
            id: summary.id,
            revision: summary.revision,
            bytes: summary.bytes as f64,
            bytes_total: summary.bytes_total as f64,
            complete: summary.complete,
            verified: summary.verified,
            last_used: (summary.last_used_ms > 0).then_some(summary.last_used_ms as f64),
        }
    }
}

/// The models on this device, the last used first.
#[wasm_bindgen(js_name = storedModels)]
pub async fn stored_models() -> Result<JsValue, JsValue> {
    let list = async { store::list(&Opfs::open().await?).await };
    let models: Vec<StoredModel> = list.await.map_err(unavailable)?.into_iter().map(Into::into).collect();
    js::plain(&models)
}

/// Reads all that is stored of a model: what of it is not as it was stored, `{ file, offsetBytes, endBytes }[]`.
#[wasm_bindgen(js_name = verifyStored)]
pub async fn verify_stored(id: &str, revision: &str, progress: Function) -> Result<JsValue, JsValue> {
    let folder = folder_of(id, revision);
    let verify = async { store::verify(&Opfs::open().await?, &folder, &mut js::progress(&progress)).await };
    js::plain(&verify.await.map_err(unavailable)?)
}

/// The folder of a model, and the names of its files that are there as a whole: `{ folder, names }`.
#[wasm_bindgen(js_name = storedNames)]
pub async fn stored_names(id: &str, revision: &str) -> Result<JsValue, JsValue> {
    #[derive(Serialize)]
    struct Names {
        folder: String,
        names: Vec<String>,
    }
    let folder = folder_of(id, revision);
    let names = async { store::export_names(&Opfs::open().await?, &folder).await };
    let names = names.await.map_err(unavailable)?;
    js::plain(&Names { folder, names })
}

/// Removes a model from this device, if it is there.
#[wasm_bindgen(js_name = deleteStored)]
pub async fn delete_stored(id: &str, revision: &str) -> Result<(), JsValue> {
    let delete = async { store::delete(&Opfs::open().await?, &folder_of(id, revision)).await };
    delete
        .await
        .map_err(|error| js::to_js(StoreError::of_disk(error, id, 0)))
}

fn unavailable(error: DiskError) -> JsValue {
    js::to_js(StoreError::of_disk(error, "the store", 0))
}
