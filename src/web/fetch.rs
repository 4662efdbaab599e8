//! A checkpoint behind a URL: weights as one streaming fetch a file, everything else read whole.
//!
//! A weights file is fetched once and read forward as its bytes arrive. The fetch is opened anew, from the byte needed,
//! when a read jumps or the connection drops; what a reopened file says of itself must match what it said first.

use std::{cell::Cell, collections::HashMap, ops::Range, rc::Rc};

use js_sys::{Function, Promise, Reflect, Uint8Array};
use serde::Deserialize;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Headers, ReadableStreamDefaultReader, RequestCache, RequestInit, Response, Url};

use super::{WebError, js, origin::Listing};
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
/// Whether a stored file has changed is not worth a longer wait.
const ASK_TIMEOUT_MS: i32 = 5_000;
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
    /// Where the hub tells what files the repository has, if it is on one.
    listing: Option<String>,
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
    /// The files are kept elsewhere: the browser's cache need not keep them, too.
    #[serde(skip)]
    bypass_cache: Cell<bool>,
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
    pub(super) listing: Listing,
}

impl HttpRepository {
    pub fn new(source: HttpSource, on_wait: Option<Function>) -> Result<Self> {
        let HttpSource { place, access, listing } = source;
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
        let listing = Listing::at(listing.map(|url| Request {
            url,
            access: access.clone(),
        }));
        Ok(HttpRepository { place, access, listing })
    }

    /// From here on, what is fetched is not put into the browser's cache.
    pub(super) fn bypass_cache(&self) {
        self.access.bypass_cache.set(true);
    }

    pub(super) fn request(&self, file: &str) -> Option<Request> {
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
        let request = self.request(file).filter(|_| !self.listing.lacks(file));
        let Some(request) = request else {
            return Ok(None);
        };
        if file.ends_with(".safetensors") {
            Ok(StreamedFile::open(request).await?.map(HttpFile::Streamed))
        } else {
            Ok(request.whole().await?.map(HttpFile::Whole))
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

impl HttpFile {
    /// The server's name for the version of the file that was opened.
    pub(super) fn validator(&self) -> Option<&String> {
        match self {
            HttpFile::Whole(file) => file.validator.as_ref(),
            HttpFile::Streamed(file) => file.validator.as_ref(),
        }
    }
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
    validator: Option<String>,
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
    validator: Option<String>,
    /// The server keeps it compressed: its ranges are of other bytes than these.
    is_encoded: Cell<bool>,
    /// Set when the server answered a Range request with the whole file.
    ignores_range: Cell<bool>,
    /// Taken out while a read is under way.
    body: Cell<Option<Body>>,
    /// Begun by an earlier visit: to read again what lies before the first byte wanted is no fault of the reader.
    is_resumed: bool,
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
                let from_start = RangeRequest {
                    from: 0,
                    to: None,
                    validator: None,
                };
                opened = request
                    .connect(Some(from_start))
                    .await?
                    .ok_or_else(|| request.vanished())?;
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
                validator: opened.validator,
                is_encoded: Cell::new(opened.is_encoded),
                ignores_range: Cell::new(opened.is_encoded),
                body: Cell::new(Some(opened.body)),
                is_resumed: false,
                request,
            }));
        }
    }

    /// A file that an earlier visit opened; nothing is asked before the first read.
    pub(super) fn resume(request: Request, len_bytes: u64, validator: Option<String>) -> StreamedFile {
        StreamedFile {
            request,
            len_bytes,
            validator,
            is_encoded: Cell::new(false),
            ignores_range: Cell::new(false),
            body: Cell::new(None),
            is_resumed: true,
        }
    }

    /// Reads these bytes, on a connection that ends with them where the server can do that.
    pub(super) async fn read_alone(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        self.body.set(None);
        if self.ignores_range.get() {
            return self.read(offset_bytes, out).await;
        }
        let end_bytes = offset_bytes + out.len() as u64;
        let body = self.reopen(offset_bytes..end_bytes, false).await?;
        self.body.set(Some(body));
        let read = self.read(offset_bytes, out).await;
        self.body.set(None);
        read
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
                _ => self.reopen(at..self.len_bytes, dropped || self.is_resumed).await?,
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

    /// A body to read these bytes from. `dropped`: the last connection broke, so reading again is no fault of the reader.
    async fn reopen(&self, wanted: Range<u64>, dropped: bool) -> Result<Body> {
        let at = wanted.start;
        let no_range = || {
            let url = self.request.url.clone();
            Err(WebError::HttpNoRange { url, offset_bytes: at }.into())
        };
        if self.ignores_range.get() && !dropped && at > MAX_REREAD_BYTES {
            return no_range();
        }
        let range = (!self.is_encoded.get()).then(|| RangeRequest {
            from: at,
            to: (wanted.end < self.len_bytes).then_some(wanted.end),
            validator: self.validator.as_deref(),
        });
        let asks_range = range.is_some();
        let opened = self.request.connect(range).await?;
        let mut opened = opened.ok_or_else(|| self.request.vanished())?;
        if opened.is_encoded && asks_range {
            // Not known when it was resumed: its ranges are of other bytes than these.
            self.is_encoded.set(true);
            let whole = self.request.connect(None).await?;
            opened = whole.ok_or_else(|| self.request.vanished())?;
        }
        let changed = |what, expected: &dyn ToString, found: &dyn ToString| {
            let (url, expected, found) = (self.request.url.clone(), expected.to_string(), found.to_string());
            Err(WebError::HttpChanged {
                url,
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
        if let (Some(expected), Some(found)) = (&self.validator, &opened.validator)
            && is_tag(expected) == is_tag(found)
            && strong(expected) != strong(found)
        {
            return changed("its ETag or date", expected, found);
        }
        if opened.body.at != at {
            self.ignores_range.set(true);
            if opened.body.at != 0 {
                return Err(WebError::HttpRange {
                    url: self.request.url.clone(),
                    expected: at,
                    found: opened.body.at,
                }
                .into());
            }
            if !dropped && at > MAX_REREAD_BYTES {
                return no_range();
            }
        }
        Ok(opened.body)
    }
}

/// An ETag, not a date.
fn is_tag(validator: &str) -> bool {
    validator.ends_with('"')
}

/// Some servers call the tag of an answer weak that they compressed, or cut.
fn strong(validator: &str) -> &str {
    validator.trim_start_matches("W/")
}

/// Which bytes of a file are asked for.
pub(super) struct RangeRequest<'a> {
    pub from: u64,
    /// `None`: all that follow.
    pub to: Option<u64>,
    /// They are wanted of this version only; of another one, all of it.
    pub validator: Option<&'a str>,
}

/// An answer whose body has not been read yet.
pub(super) struct Opened {
    /// Length of the whole file, where the server tells it.
    len_bytes: Option<u64>,
    validator: Option<String>,
    is_encoded: bool,
    body: Body,
}

pub(super) struct Request {
    url: String,
    access: Rc<Access>,
}

impl Request {
    /// Asks for the file, or a part of it; `None` if it does not exist. Tries again where that may help.
    async fn connect(&self, range: Option<RangeRequest<'_>>) -> Result<Option<Opened>> {
        let mut failures = 0;
        loop {
            let mut wait_ms = 0.0;
            let detail = match self.fetch(range.as_ref()).await {
                Err(thrown) => js::message(&thrown),
                Ok(response) => match response.status() {
                    200 | 206 => return self.opened(&response, range.as_ref()).map(Some),
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

    async fn fetch(&self, range: Option<&RangeRequest<'_>>) -> Result<Response, JsValue> {
        let init = RequestInit::new();
        let headers = self.headers()?;
        if let Some(RangeRequest { from, to, validator }) = range {
            let last = to.map_or(String::new(), |to| (to - 1).to_string());
            headers.set("Range", &format!("bytes={from}-{last}"))?;
            // Another origin would have to allow the header, and a weak tag is no good for it: there, what comes is compared.
            if let Some(validator) = validator.filter(|validator| !validator.starts_with("W/"))
                && self.is_own_origin()
            {
                headers.set("If-Range", validator)?;
            }
        }
        init.set_headers(&headers);
        if self.access.bypass_cache.get() {
            init.set_cache(RequestCache::NoStore);
        }
        self.send(&init, STALL_TIMEOUT_MS).await
    }

    fn headers(&self) -> Result<Headers, JsValue> {
        let headers = Headers::new()?;
        if let Some(token) = self.token() {
            headers.set("Authorization", &format!("Bearer {token}"))?;
        }
        Ok(headers)
    }

    async fn send(&self, init: &RequestInit, timeout_ms: i32) -> Result<Response, JsValue> {
        let answer = js::worker().fetch_with_str_and_init(&self.url, init);
        match js::settle_within(answer, timeout_ms).await {
            Some(outcome) => outcome?.dyn_into(),
            None => Err("the server does not answer".into()),
        }
    }

    /// Asks once, for the newest, and not for long; `None`: there is no such file.
    pub(super) async fn ask(&self, method: &str) -> Result<Option<Response>> {
        let ask = async {
            let init = RequestInit::new();
            init.set_method(method);
            init.set_cache(RequestCache::NoCache);
            let headers = self.headers()?;
            init.set_headers(&headers);
            self.send(&init, ASK_TIMEOUT_MS).await
        };
        let response = match ask.await {
            Err(thrown) => return Err(self.unreached(1, js::message(&thrown))),
            Ok(response) => response,
        };
        match response.ok() {
            true if is_page(&response) => Err(WebError::HttpHtml { url: self.url.clone() }.into()),
            true => Ok(Some(response)),
            false => match self.refused(response.status(), &response) {
                Some(error) => Err(error.into()),
                None => Ok(None),
            },
        }
    }

    fn unreached(&self, attempts: u32, detail: String) -> crate::Error {
        let url = self.url.clone();
        WebError::HttpConnection { url, attempts, detail }.into()
    }

    fn is_own_origin(&self) -> bool {
        let origin = Url::new(&self.url).map(|url| url.origin());
        origin.is_ok_and(|origin| origin == js::worker().origin())
    }

    /// The token that is for this file's server.
    fn token(&self) -> Option<&String> {
        let origin = Url::new(&self.url).ok()?.origin();
        self.access.tokens.get(&origin)
    }

    fn opened(&self, response: &Response, range: Option<&RangeRequest<'_>>) -> Result<Opened> {
        if is_page(response) {
            return Err(WebError::HttpHtml { url: self.url.clone() }.into());
        }
        let is_encoded = is_encoded(response);
        let content_length = content_length(response);
        let (at, len_bytes) = if response.status() == 206 {
            // Content-Range may be hidden from a page of another origin; then the answer is taken to be what was asked for.
            let told = header(response, "content-range").and_then(|text| parse_content_range(&text));
            let at = told.map_or(range.map_or(0, |range| range.from), |(at, _)| at);
            let total = told.and_then(|(_, total)| total).filter(|_| !is_encoded);
            let to_the_end = range.is_none_or(|range| range.to.is_none());
            let rest = content_length.filter(|_| to_the_end);
            (at, total.or(rest.map(|rest| at + rest)))
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
            validator: validator(response),
            is_encoded,
            body,
        })
    }

    /// The whole file in memory.
    pub(super) async fn whole(&self) -> Result<Option<WholeFile>> {
        let mut failures = 0;
        'attempt: loop {
            let Some(opened) = self.connect(None).await? else {
                return Ok(None);
            };
            let mut bytes = Vec::with_capacity(opened.len_bytes.unwrap_or(0).min(MAX_WHOLE_BYTES as u64) as usize);
            loop {
                match opened.body.next_chunk().await {
                    Ok(None) => {
                        let (url, validator) = (self.url.clone(), opened.validator);
                        return Ok(Some(WholeFile { url, bytes, validator }));
                    }
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
            return Err(self.unreached(failures, detail));
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
        let reason = header(response, "x-error-code");
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

/// A page instead of a file.
pub(super) fn is_page(response: &Response) -> bool {
    header(response, "content-type").is_some_and(|kind| kind.starts_with("text/html"))
}

fn is_encoded(response: &Response) -> bool {
    header(response, "content-encoding").is_some_and(|encoding| encoding != "identity")
}

/// How many bytes the answer has, where the server tells; of a compressed file that is something else.
pub(super) fn content_length(response: &Response) -> Option<u64> {
    header(response, "content-length")?
        .parse()
        .ok()
        .filter(|_| !is_encoded(response))
}

/// What the server calls this version of the file: other origins may hide the first from a page.
pub(super) fn validator(response: &Response) -> Option<String> {
    header(response, "etag").or(header(response, "last-modified"))
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).ok().flatten()
}

/// How long the server asks to wait before the next request: seconds, or a date.
fn retry_after_ms(response: &Response) -> f64 {
    let Some(text) = header(response, "retry-after") else {
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
