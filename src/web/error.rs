//! What can go wrong between the engine and the web page it lives in.

#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error("\"{url}\" is not a URL of a checkpoint's folder: {detail}")]
    BadUrl { url: String, detail: String },
    #[error("{url}: the server answered HTTP {status}{hint}")]
    HttpStatus { url: String, status: u16, hint: String },
    #[error("{url}: access denied (HTTP {status}): {way}")]
    AccessDenied { url: String, status: u16, way: String },
    #[error("{page}: no such repository{}", if *.signed_in { ", or the token's account may not see it" } else { ", or it is private and needs a `token`" })]
    RepositoryNotFound { page: String, signed_in: bool },
    #[error("{url}: the repository has no such revision")]
    RevisionNotFound { url: String },
    #[error(
        "{url}: no connection after {attempts} attempts ({detail}); is the server up, and does it allow this page by CORS?"
    )]
    HttpConnection { url: String, attempts: u32, detail: String },
    #[error("{url}: expected the file, the server answered with an HTML page")]
    HttpHtml { url: String },
    #[error("{url}: the server tells no length (neither Content-Length nor Content-Range)")]
    HttpLength { url: String },
    #[error("{url}: asked for bytes from {expected} on, the server sent bytes from {found} on")]
    HttpRange { url: String, expected: u64, found: u64 },
    #[error(
        "{url}: byte {offset_bytes} is needed again, but the server ignores Range requests and would send all before it"
    )]
    HttpNoRange { url: String, offset_bytes: u64 },
    #[error("{url}: the file changed while it was read ({what} was {expected}, is {found})")]
    HttpChanged {
        url: String,
        what: &'static str,
        expected: String,
        found: String,
    },
    #[error("{url}: more than {limit_bytes} bytes, too large for a configuration or tokenizer file")]
    HttpTooLarge { url: String, limit_bytes: usize },
    #[error("{file}: cannot be read ({detail}); pick the folder again")]
    FileRead { file: String, detail: String },
    #[error("{detail}")]
    NoWebGpu { detail: &'static str },
    #[error("this {what} was disposed of")]
    Disposed { what: &'static str },
    #[error("options: {detail}")]
    BadOptions { detail: String },
}

impl WebError {
    pub fn code(&self) -> &'static str {
        match self {
            WebError::BadUrl { .. } => "BadUrl",
            WebError::HttpStatus { .. } => "HttpStatus",
            WebError::AccessDenied { .. } => "AccessDenied",
            WebError::RepositoryNotFound { .. } => "RepositoryNotFound",
            WebError::RevisionNotFound { .. } => "RevisionNotFound",
            WebError::HttpConnection { .. } => "HttpConnection",
            WebError::HttpHtml { .. } => "HttpHtml",
            WebError::HttpLength { .. } => "HttpLength",
            WebError::HttpRange { .. } => "HttpRange",
            WebError::HttpNoRange { .. } => "HttpNoRange",
            WebError::HttpChanged { .. } => "HttpChanged",
            WebError::HttpTooLarge { .. } => "HttpTooLarge",
            WebError::FileRead { .. } => "FileRead",
            WebError::NoWebGpu { .. } => "NoWebGpu",
            WebError::Disposed { .. } => "Disposed",
            WebError::BadOptions { .. } => "BadOptions",
        }
    }
}
