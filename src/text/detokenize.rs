//! Token ids -> text as it arrives.

use std::sync::Arc;

use super::{TextError, vocabulary::Vocabulary};

/// Turns ids into text one at a time, giving out only characters that no later token can change: a character split
/// over tokens is held back until it is whole. The pieces, joined, equal `Tokenizer::decode` of all ids.
pub struct Detokenizer {
    vocabulary: Arc<Vocabulary>,
    skip_special: bool,
    /// The beginning of a character, at most 3 bytes between pushes.
    pending: Vec<u8>,
}

impl Detokenizer {
    pub(super) fn new(vocabulary: Arc<Vocabulary>, skip_special: bool) -> Self {
        Detokenizer {
            vocabulary,
            skip_special,
            pending: Vec::new(),
        }
    }

    /// The text that became certain with this token; often empty inside an emoji. Bytes that cannot be UTF-8 become
    /// U+FFFD. An id out of range is an error and leaves the state as it was.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        let bytes = self.vocabulary.bytes(id)?;
        if self.skip_special && self.vocabulary.is_special(id) {
            return Ok(String::new());
        }
        self.pending.extend_from_slice(bytes);
        let unfinished_bytes = unfinished_bytes(&self.pending);
        let certain: Vec<u8> = self.pending.drain(..self.pending.len() - unfinished_bytes).collect();
        Ok(into_text(certain))
    }

    /// What is left at the end of the sequence: empty, or U+FFFD for a character that never became whole.
    pub fn flush(&mut self) -> String {
        into_text(std::mem::take(&mut self.pending))
    }
}

/// Bytes as text, with U+FFFD for what is not UTF-8.
pub(super) fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// How many bytes at the end are the beginning of a character that further bytes could complete.
fn unfinished_bytes(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len() - bytes.len().min(3)..];
    // Only the last lead byte matters: what comes before it is whole, or already broken.
    let Some(lead) = tail.iter().rposition(|byte| !(0x80..0xc0).contains(byte)) else {
        return 0;
    };
    match std::str::from_utf8(&tail[lead..]) {
        Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => tail.len() - lead,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_of_any_bytes_equals_the_whole() {
        // Valid characters of 1 to 4 bytes, truncated ones, stray continuations, overlong forms, surrogates, 0xff.
        let bytes = b"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82\xf0\x9f\x99z\x80\xc0\xaf\xe0\x80\x80\xed\xa0\x80\xff\xf0\x9f\xf0\x9f\x99\x82\xe2";
        let whole = String::from_utf8_lossy(bytes);
        let mut vocabulary = Vocabulary::with_capacity(0);
        let mut id_of = Vec::new(); // (start, end) -> id, for every substring
        for start in 0..bytes.len() {
            for end in start + 1..=bytes.len() {
                id_of.push(((start, end), vocabulary.len() as u32));
                vocabulary.push(bytes[start..end].iter().copied(), false);
            }
        }
        let id_of: std::collections::HashMap<_, _> = id_of.into_iter().collect();
        let vocabulary = Arc::new(vocabulary);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut detokenizer = Detokenizer::new(vocabulary.clone(), true);
                let mut text = String::new();
                for range in [(0, first), (first, second), (second, bytes.len())] {
                    if range.0 < range.1 {
                        text += &detokenizer.push(id_of[&range]).unwrap();
                    }
                }
                text += &detokenizer.flush();
                assert_eq!(text, whole, "cut at {first} and {second}");
            }
        }
    }
}
