//! A checkpoint behind a URL: weights as one streaming fetch a file, everything else read whole.
//!
//! A weights file is fetched once and read forward as its bytes arrive. The fetch is opened anew, from the byte needed,
//! when a read jumps or the connection drops; what a reopened file says of itself must match what it said first.

use std::{cell::Cell, collections::HashMap, rc::Rc};

use js_sys::{Function, Promise, Reflect, Uint8Array};
use serde::Deserialize;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Headers, ReadableStreamDefaultReader, RequestInit, Response, Url};

use super::{WebError, js};
use crate::{
    Result,
    checkpoint::{
        ByteSource, CheckpointError, Repository, end_of_file,
        safetensors::{self, Stated},
    },
    json::Imposter,
};

/// Consecutive failures after which a request counts as failed; bytes that arrive start the count anew.
const MAX_ATTEMPTS: u32 = 5;
/// Wait before the second attempt; doubled for each further one.
const FIRST_BACKOFF_MS: i32 = 250;
/// A server that asks to come back later than this is not waited for.
const MAX_RETRY_AFTER_MS: f64 = 120_000.0;
/// A wait that people are told of.
const TOLD_WAIT_MS: i32 = 1000;
/// A connection that sends nothing for this long counts as dropped.
const STALL_TIMEOUT_MS: i32 = 30_000;
/// A forward jump up to this far is read over instead of costing a new request.
const MAX_SKIP_BYTES: u64 = 1 << 20;
/// Without Range support, how far into the file a jump may make us read again from the start.
const MAX_REREAD_BYTES: u64 = 64 << 20;
/// Upper bound for files read whole; a Llama-3 `tokenizer.json` is 17 MB.
const MAX_WHOLE_BYTES: usize = 128 << 20;

/// Where a checkpoint lies on the web, in absolute URLs.
#[derive(Deserialize)]
pub struct HttpSource {
    #[serde(flatten)]
    place: Place,
    #[serde(flatten)]
    access: Access,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Place {
    /// The folder that holds the files; its query, if any, goes with every file.
    Url(String),
    /// A URL for each file, by its name; there are no others.
    Files(HashMap<String, String>),
}

/// How a server is asked, and what to say when it refuses.
#[derive(Deserialize)]
struct Access {
    /// By origin: goes with every request there, as `Authorization: Bearer`, and to nobody else.
    #[serde(default)]
    tokens: HashMap<String, String>,
    /// The repository's page, if it is on a Hugging Face hub.
    page: Option<String>,
    /// `(ms, reason)`: hears of longer waits for a server, and with 0 that they are over.
    #[serde(skip)]
    on_wait: Option<Function>,
}

impl Access {
    fn tell_wait(&self, ms: f64, reason: &str) {
        if let Some(on_wait) = &self.on_wait {
            let _ = on_wait.call2(&JsValue::NULL, &ms.into(), &reason.into());
        }
    }
}

/// A checkpoint on a web server.
pub struct HttpRepository {
    place: Place,
    access: Rc<Access>,
}

impl HttpRepository {
    pub fn new(source: HttpSource, on_wait: Option<Function>) -> Result<Self> {
        let HttpSource { place, access } = source;
        let urls: Vec<&String> = match &place {
            Place::Url(url) => vec![url],
            Place::Files(files) => files.values().collect(),
        };
        for url in urls {
            let bad = |detail: &str| WebError::BadUrl {
                url: url.clone(),
                detail: detail.into(),
            };
            let parsed = Url::new(url).map_err(|thrown| bad(&js::message(&thrown)))?;
            match (&place, parsed.protocol().as_str()) {
                (_, "http:" | "https:") | (Place::Files(_), "blob:" | "data:") => {}
                _ => return Err(bad("expected http or https").into()),
            }
        }
        let access = Rc::new(Access { on_wait, ..access });
        Ok(HttpRepository { place, access })
    }

    fn request(&self, file: &str) -> Option<Request> {
        let url = match &self.place {
            Place::Files(files) => files.get(file)?.clone(),
            Place::Url(folder) => {
                let url = Url::new(folder).expect("parsed before");
                url.set_pathname(&format!("{}/{file}", url.pathname().trim_end_matches('/')));
                url.href()
            }
        };
        let access = self.access.clone();
        Some(Request { url, access })
    }
}

impl Repository for HttpRepository {
    type Source = HttpFile;

    async fn open(&self, file: &str) -> Result<Option<HttpFile>> {
        let Some(request) = self.request(file) else {
            return Ok(None);
        };
        if file.ends_with(".safetensors") {
            Ok(StreamedFile::open(request).await?.map(HttpFile::Streamed))
        } else {
            Ok(request.whole().await?.map(|bytes| {
                HttpFile::Whole(WholeFile {
                    url: request.url,
                    bytes,
                })
            }))
        }
    }

    /// The server of a single-page app answers with its page what it does not have; S3 and CloudFront deny access to it. What
    /// is really denied shows at the files that must be there.
    async fn open_optional(&self, file: &str) -> Result<Option<HttpFile>> {
        match self.open(file).await {
            Err(crate::Error::Web(WebError::HttpHtml { .. } | WebError::AccessDenied { status: 403, .. })) => Ok(None),
            opened => opened,
        }
    }
}

/// One file of a web server's folder.
pub enum HttpFile {
    Whole(WholeFile),
    Streamed(StreamedFile),
}

impl ByteSource for HttpFile {
    fn len_bytes(&self) -> u64 {
        match self {
            HttpFile::Whole(file) => file.len_bytes(),
            HttpFile::Streamed(file) => file.len_bytes,
        }
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        match self {
            HttpFile::Whole(file) => file.read(offset_bytes, out).await,
            HttpFile::Streamed(file) => file.read(offset_bytes, out).await,
        }
    }
}

/// A small file, in memory.
pub struct WholeFile {
    url: String,
    bytes: Vec<u8>,
}

impl ByteSource for WholeFile {
    fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        let wanted = self
            .bytes
            .get(offset_bytes as usize..)
            .and_then(|rest| rest.get(..out.len()));
        let wanted = wanted.ok_or_else(|| end_of_file(&self.url, offset_bytes, out.len(), self.len_bytes()))?;
        out.copy_from_slice(wanted);
        Ok(())
    }
}

/// A weights file, read forward as it arrives.
pub struct StreamedFile {
    request: Request,
    len_bytes: u64,
    /// The server's name for this version of the file, if it tells one.
    etag: Option<String>,
    /// The server keeps it compressed: its ranges are of other bytes than these.
    is_encoded: bool,
    /// Set when the server answered a Range request with the whole file.
    ignores_range: Cell<bool>,
    /// Taken out while a read is under way.
    body: Cell<Option<Body>>,
}

impl StreamedFile {
    async fn open(request: Request) -> Result<Option<Self>> {
        let mut failures = 0;
        loop {
            let Some(mut opened) = request.connect(None).await? else {
                return Ok(None);
            };
            if opened.len_bytes.is_none() && !opened.is_encoded {
                // Sent in chunks: most servers answer a Range request with a length.
                opened = request.connect(Some(0)).await?.ok_or_else(|| request.vanished())?;
            }
            let len_bytes = match opened.len_bytes {
                Some(len_bytes) => len_bytes,
                None => match opened.body.stated_bytes().await {
                    Ok(stated) => stated.map_err(|start| request.no_length(&start))?,
                    Err(detail) => {
                        failures += 1;
                        request.back_off(failures, detail, 0.0).await?;
                        continue;
                    }
                },
            };
            return Ok(Some(StreamedFile {
                len_bytes,
                etag: opened.etag,
                is_encoded: opened.is_encoded,
                ignores_range: Cell::new(opened.is_encoded),
                body: Cell::new(Some(opened.body)),
                request,
            }));
        }
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        if offset_bytes.saturating_add(out.len() as u64) > self.len_bytes {
            return Err(end_of_file(&self.request.url, offset_bytes, out.len(), self.len_bytes));
        }
        let (mut filled, mut failures, mut dropped) = (0, 0, false);
        while filled < out.len() {
            let at = offset_bytes + filled as u64;
            let reach = if self.ignores_range.get() {
                u64::MAX
            } else {
                MAX_SKIP_BYTES
            };
            let mut body = match self.body.take() {
                Some(body) if body.at <= at && at - body.at <= reach => body,
                _ => self.reopen(at, dropped).await?,
            };
            match body.read(at, &mut out[filled..]).await {
                Ok(count) => {
                    (filled, failures) = (filled + count, 0);
                    self.body.set(Some(body));
                }
                Err(detail) => {
                    (failures, dropped) = (failures + 1, true);
                    self.request.back_off(failures, detail, 0.0).await?;
                }
            }
        }
        Ok(())
    }

    /// A body to read byte `at` from. `dropped`: the last connection broke, so reading again is no fault of the reader.
    async fn reopen(&self, at: u64, dropped: bool) -> Result<Body> {
        let url = || self.request.url.clone();
        if self.ignores_range.get() && !dropped && at > MAX_REREAD_BYTES {
            return Err(WebError::HttpNoRange {
                url: url(),
                offset_bytes: at,
            }
            .into());
        }
        let opened = self
            .request
            .connect((!self.is_encoded).then_some(at))
            .await?
            .ok_or_else(|| self.request.vanished())?;
        let changed = |what, expected: &dyn ToString, found: &dyn ToString| {
            let (expected, found) = (expected.to_string(), found.to_string());
            Err(WebError::HttpChanged {
                url: url(),
                what,
                expected,
                found,
            }
            .into())
        };
        if let Some(found) = opened.len_bytes
            && found != self.len_bytes
        {
            return changed("its length", &self.len_bytes, &found);
        }
        if let (Some(expected), Some(found)) = (&self.etag, &opened.etag)
            && expected != found
        {
            return changed("its ETag", expected, found);
        }
        if opened.body.at != at {
            self.ignores_range.set(true);
            if opened.body.at != 0 {
                return Err(WebError::HttpRange {
                    url: url(),
                    expected: at,
                    found: opened.body.at,
                }
                .into());
            }
            if !dropped && at > MAX_REREAD_BYTES {
                return Err(WebError::HttpNoRange {
                    url: url(),
                    offset_bytes: at,
                }
                .into());
            }
        }
        Ok(opened.body)
    }
}

/// An answer whose body has not been read yet.
struct Opened {
    /// Length of the whole file, where the server tells it.
    len_bytes: Option<u64>,
    etag: Option<String>,
    is_encoded: bool,
    body: Body,
}

struct Request {
    url: String,
    access: Rc<Access>,
}

impl Request {
    /// Asks for the file, from byte `from` on if given; `None` if it does not exist. Tries again where that may help.
    async fn connect(&self, from: Option<u64>) -> Result<Option<Opened>> {
        let mut failures = 0;
        loop {
            let mut wait_ms = 0.0;
            let detail = match self.fetch(from).await {
                Err(thrown) => js::message(&thrown),
                Ok(response) => match response.status() {
                    200 | 206 => return self.opened(&response, from).map(Some),
                    status @ (408 | 429 | 500..=599) if failures + 1 < MAX_ATTEMPTS => {
                        wait_ms = retry_after_ms(&response);
                        if wait_ms > MAX_RETRY_AFTER_MS {
                            let hint = format!(": it asks to come back in {:.0} seconds", wait_ms / 1000.0);
                            let url = self.url.clone();
                            return Err(WebError::HttpStatus { url, status, hint }.into());
                        }
                        format!("HTTP {status}")
                    }
                    status => match self.refused(status, &response) {
                        Some(error) => return Err(error.into()),
                        None => return Ok(None),
                    },
                },
            };
            failures += 1;
            self.back_off(failures, detail, wait_ms).await?;
        }
    }

    async fn fetch(&self, from: Option<u64>) -> Result<Response, JsValue> {
        let headers = Headers::new()?;
        if let Some(from) = from {
            headers.set("Range", &format!("bytes={from}-"))?;
        }
        if let Some(token) = self.token() {
            headers.set("Authorization", &format!("Bearer {token}"))?;
        }
        let init = RequestInit::new();
        init.set_headers(&headers);
        let answer = js::worker().fetch_with_str_and_init(&self.url, &init);
        match js::settle_within(answer, STALL_TIMEOUT_MS).await {
            Some(outcome) => outcome?.dyn_into(),
            None => Err("the server does not answer".into()),
        }
    }

    /// The token that is for this file's server.
    fn token(&self) -> Option<&String> {
        let origin = Url::new(&self.url).ok()?.origin();
        self.access.tokens.get(&origin)
    }

    fn opened(&self, response: &Response, from: Option<u64>) -> Result<Opened> {
        let header = |name: &str| response.headers().get(name).ok().flatten();
        if header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            return Err(WebError::HttpHtml { url: self.url.clone() }.into());
        }
        let is_encoded = header("content-encoding").is_some_and(|encoding| encoding != "identity");
        let content_length = header("content-length")
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|_| !is_encoded);
        let (at, len_bytes) = if response.status() == 206 {
            // Content-Range may be hidden from a page of another origin; then the answer is taken to be what was asked for.
            let range = header("content-range").and_then(|text| parse_content_range(&text));
            let at = range.map_or(from.unwrap_or(0), |(at, _)| at);
            (
                at,
                range
                    .and_then(|(_, total)| total)
                    .filter(|_| !is_encoded)
                    .or(content_length.map(|rest| at + rest)),
            )
        } else {
            (0, content_length)
        };
        let stream = response
            .body()
            .ok_or_else(|| WebError::HttpLength { url: self.url.clone() })?;
        let reader = stream.get_reader().unchecked_into();
        let body = Body {
            reader,
            chunk: Uint8Array::new_with_length(0),
            at,
        };
        Ok(Opened {
            len_bytes,
            etag: header("etag"),
            is_encoded,
            body,
        })
    }

    /// The whole file in memory.
    async fn whole(&self) -> Result<Option<Vec<u8>>> {
        let mut failures = 0;
        'attempt: loop {
            let Some(opened) = self.connect(None).await? else {
                return Ok(None);
            };
            let mut bytes = Vec::with_capacity(opened.len_bytes.unwrap_or(0).min(MAX_WHOLE_BYTES as u64) as usize);
            loop {
                match opened.body.next_chunk().await {
                    Ok(None) => return Ok(Some(bytes)),
                    Ok(Some(chunk)) => {
                        let start = bytes.len();
                        if start + chunk.length() as usize > MAX_WHOLE_BYTES {
                            let url = self.url.clone();
                            return Err(WebError::HttpTooLarge {
                                url,
                                limit_bytes: MAX_WHOLE_BYTES,
                            }
                            .into());
                        }
                        bytes.resize(start + chunk.length() as usize, 0);
                        chunk.copy_to(&mut bytes[start..]);
                    }
                    Err(detail) => {
                        failures += 1;
                        self.back_off(failures, detail, 0.0).await?;
                        continue 'attempt;
                    }
                }
            }
        }
    }

    /// Waits before the next attempt, at least `wait_ms`, or gives up.
    async fn back_off(&self, failures: u32, detail: String, wait_ms: f64) -> Result<()> {
        const STEP_MS: i32 = 50;
        if failures >= MAX_ATTEMPTS {
            return Err(WebError::HttpConnection {
                url: self.url.clone(),
                attempts: failures,
                detail,
            }
            .into());
        }
        let backoff_ms = (FIRST_BACKOFF_MS << (failures - 1)).max(wait_ms as i32);
        let is_told = backoff_ms >= TOLD_WAIT_MS;
        if is_told {
            let reason = if wait_ms > 0.0 {
                "the server is busy"
            } else {
                "the server cannot be reached"
            };
            self.access.tell_wait(backoff_ms.into(), reason);
        }
        for _ in 0..backoff_ms / STEP_MS {
            js::sleep_ms(STEP_MS).await;
        }
        if is_told {
            self.access.tell_wait(0.0, "");
        }
        Ok(())
    }

    /// What a status other than success means; `None`: there is no such file.
    fn refused(&self, status: u16, response: &Response) -> Option<WebError> {
        let url = self.url.clone();
        let (page, signed_in) = (&self.access.page, self.token().is_some());
        // A hub tells apart what looks the same by status, and hides from strangers what they may not see.
        let reason = response.headers().get("x-error-code").ok().flatten();
        match (status, reason.as_deref(), page) {
            (401 | 404, Some("RepoNotFound"), Some(page)) => Some(WebError::RepositoryNotFound {
                page: page.clone(),
                signed_in,
            }),
            (404, Some("RevisionNotFound"), Some(_)) => Some(WebError::RevisionNotFound { url }),
            (404 | 410, ..) => None,
            (401 | 403, ..) => Some(WebError::AccessDenied {
                url,
                status,
                way: way_in(status, signed_in, page.as_deref()),
            }),
            (416, ..) => Some(WebError::HttpStatus {
                url,
                status,
                hint: ": the file is shorter than before".into(),
            }),
            _ => Some(WebError::HttpStatus {
                url,
                status,
                hint: String::new(),
            }),
        }
    }

    fn vanished(&self) -> WebError {
        WebError::HttpStatus {
            url: self.url.clone(),
            status: 404,
            hint: ": the file was there before".into(),
        }
    }

    /// A file that begins like this and whose length nobody tells.
    fn no_length(&self, start: &[u8]) -> crate::Error {
        let url = self.url.clone();
        match Imposter::of(start) {
            Some(imposter) => CheckpointError::Imposter { file: url, imposter }.into(),
            None => WebError::HttpLength { url }.into(),
        }
    }
}

/// How long the server asks to wait before the next request: seconds, or a date.
fn retry_after_ms(response: &Response) -> f64 {
    let Some(text) = response.headers().get("retry-after").ok().flatten() else {
        return 0.0;
    };
    let wait_ms = match text.trim().parse::<f64>() {
        Ok(seconds) => seconds * 1000.0,
        Err(_) => js_sys::Date::parse(&text) - js_sys::Date::now(),
    };
    if wait_ms.is_nan() { 0.0 } else { wait_ms.max(0.0) }
}

/// How to get access where a server refuses it.
fn way_in(status: u16, signed_in: bool, page: Option<&str>) -> String {
    const FOLDER: &str = "or download the files and open them as a local folder";
    match (page, signed_in) {
        (None, false) => format!("it asks for a login: pass its access token as `token`, {FOLDER}"),
        (None, true) => format!("it does not accept the token; get another, {FOLDER}"),
        (Some(page), false) => format!(
            "accept the licence at {page} with your account there and pass an access token of that account as `token`, {FOLDER}"
        ),
        (Some(page), true) if status == 401 => {
            format!(
                "the token is not valid (any more): make a new one in your account's settings, having accepted the licence at {page}"
            )
        }
        (Some(page), true) => format!(
            "the token's account has no access: accept the licence at {page} with that account; a fine-grained token must also \
             be allowed to read gated repositories"
        ),
    }
}

/// A body being read: the reader, and what is left of the chunk it gave last.
struct Body {
    reader: ReadableStreamDefaultReader,
    chunk: Uint8Array,
    /// Offset in the file of the chunk's first byte.
    at: u64,
}

impl Body {
    /// Copies bytes from offset `from` on into `out`, at least one, as far as the current chunk goes.
    async fn read(&mut self, from: u64, out: &mut [u8]) -> Result<usize, String> {
        while self.at + u64::from(self.chunk.length()) <= from {
            self.at += u64::from(self.chunk.length());
            self.chunk = self.next_chunk().await?.ok_or("the connection ended early")?;
        }
        let skip = (from - self.at) as u32;
        let count = out.len().min((self.chunk.length() - skip) as usize);
        self.chunk
            .subarray(skip, skip + count as u32)
            .copy_to(&mut out[..count]);
        self.chunk = self.chunk.subarray(skip + count as u32, self.chunk.length());
        self.at = from + count as u64;
        Ok(count)
    }

    /// How long the safetensors file of this body is by its own header; its first bytes if that is none. What is read for it is
    /// put back.
    async fn stated_bytes(&mut self) -> Result<Result<u64, Vec<u8>>, String> {
        let mut start = Vec::new();
        let length = loop {
            match safetensors::stated_length(&start) {
                Stated::After(_) => {}
                Stated::Bytes(len_bytes) => break Some(len_bytes),
                Stated::Nothing => break None,
            }
            match self.next_chunk().await? {
                Some(chunk) => start.extend(chunk.to_vec()),
                None => break None,
            }
        };
        self.chunk = Uint8Array::from(&start[..]);
        Ok(length.ok_or(start))
    }

    /// The next bytes as they arrive; `None` at the end. The error tells what went wrong.
    async fn next_chunk(&self) -> Result<Option<Uint8Array>, String> {
        let Some(outcome) = js::settle_within(self.reader.read(), STALL_TIMEOUT_MS).await else {
            return Err(format!("no data for {} seconds", STALL_TIMEOUT_MS / 1000));
        };
        let result = outcome.map_err(|thrown| js::message(&thrown))?;
        let field = |name: &str| Reflect::get(&result, &name.into()).map_err(|thrown| js::message(&thrown));
        Ok(if field("done")?.is_truthy() {
            None
        } else {
            Some(field("value")?.unchecked_into())
        })
    }
}

impl Drop for Body {
    /// Closes the connection; that it may be broken already is no news.
    fn drop(&mut self) {
        let cancelled: Promise = self.reader.cancel();
        spawn_local(async move {
            let _ = JsFuture::from(cancelled).await;
        });
    }
}

/// `bytes 5-9/100` -> (5, Some(100)); the total may be `*`.
fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.trim().parse().ok()?, total.trim().parse().ok()))
}
