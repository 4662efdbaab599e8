//! JSON as it is found in model repositories: written by Python or by a Windows editor, or not JSON at all.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

/// What a file turns out to be instead of what its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imposter {
    LfsPointer,
    Html,
    Utf16,
    Gzip,
}

impl Imposter {
    /// By its first bytes; a few hundred will do.
    pub fn of(bytes: &[u8]) -> Option<Imposter> {
        if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
            return Some(Imposter::LfsPointer);
        }
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Some(Imposter::Utf16);
        }
        if bytes.starts_with(&[0x1f, 0x8b, 8]) {
            return Some(Imposter::Gzip);
        }
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii_start();
        let begins = |tag: &str| {
            text.get(..tag.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
        };
        let is_html = ["<!doctype html", "<html", "<head"].iter().any(|tag| begins(tag));
        is_html.then_some(Imposter::Html)
    }
}

impl std::fmt::Display for Imposter {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Imposter::LfsPointer => {
                "it is a Git LFS pointer, not the file itself: run `git lfs pull` in the folder, or download the file from the \
                 repository's page"
            }
            Imposter::Html => "it is an HTML page, not the file itself: download the file, not the page that shows it",
            Imposter::Utf16 => "it is written in UTF-16: save it as UTF-8",
            Imposter::Gzip => {
                "it is compressed with gzip: unpack it, or have the server say so (`Content-Encoding: gzip`)"
            }
        })
    }
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with a file that should be JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("{0}")]
    Imposter(Imposter),
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
}

/// Reads JSON as Python's `json` does: a byte order mark is skipped; a bare `NaN`, `Infinity` or `-Infinity` becomes a string of
/// that name, so that whoever wants a number refuses it by its name.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    if let Some(imposter) = Imposter::of(bytes) {
        return Err(JsonError::Imposter(imposter));
    }
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    Ok(serde_json::from_slice(&quoted(text))?)
}

/// The same text with Python's bare numbers that JSON does not have in quotes.
fn quoted(text: &[u8]) -> Cow<'_, [u8]> {
    const NAMES: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    let mut out = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while at < text.len() {
        match text[at] {
            b'"' => at = end_of_string(text, at),
            b'N' | b'I' | b'-' => match NAMES.iter().find(|name| text[at..].starts_with(name)) {
                Some(name) => {
                    out.extend_from_slice(&text[copied..at]);
                    out.push(b'"');
                    out.extend_from_slice(name);
                    out.push(b'"');
                    at += name.len();
                    copied = at;
                }
                None => at += 1,
            },
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.extend_from_slice(&text[copied..]);
    Cow::Owned(out)
}

/// Behind the string that begins at `start`, or the end of the text.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(text: &[u8]) -> Value {
        from_slice(text).unwrap()
    }

    #[test]
    fn python_s_numbers_are_read() {
        let text = br#"{"a": NaN, "b": [Infinity, -Infinity, -1, 1e5], "c": "NaN, \" Infinity", "d\\": NaN}"#;
        let expected =
            json!({"a": "NaN", "b": ["Infinity", "-Infinity", -1, 1e5], "c": "NaN, \" Infinity", "d\\": "NaN"});
        assert_eq!(read(text), expected);
        assert!(from_slice::<Value>(b"{\"a\": Nan}").is_err());
        assert!(from_slice::<Value>(b"{\"a\": \"NaN").is_err());
        assert!(from_slice::<Value>(b"\"\\").is_err());
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read(b"\xef\xbb\xbf{\"a\": 1}"), json!({"a": 1}));
        assert_eq!(read(b"{\"a\": \"\xef\xbb\xbf\"}"), json!({"a": "\u{feff}"}));
    }

    #[test]
    fn what_is_no_json_is_named() {
        let says = |bytes: &[u8]| from_slice::<Value>(bytes).unwrap_err().to_string();
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        assert!(says(pointer).contains("git lfs pull"));
        assert!(says(b"\n <!DOCTYPE html><html></html>").contains("HTML"));
        assert!(says(b"<HTML>").contains("HTML"));
        assert!(says(b"\xff\xfe{\0}\0").contains("UTF-16"));
        assert!(says(b"").contains("EOF"));
    }
}
