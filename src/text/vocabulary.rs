//! Every token's bytes in one allocation, indexed by id: what decoding needs of a tokenizer.

use super::TextError;

/// Token id -> the bytes it stands for. A byte-level token need not be valid UTF-8 on its own.
pub(super) struct Vocabulary {
    /// All tokens' bytes, in id order.
    bytes: Vec<u8>,
    /// Token `id` is `bytes[starts[id]..starts[id + 1]]`.
    starts: Vec<u32>,
    special: Vec<bool>,
}

impl Vocabulary {
    pub(super) fn with_capacity(tokens: usize) -> Self {
        let mut starts = Vec::with_capacity(tokens + 1);
        starts.push(0);
        Vocabulary {
            bytes: Vec::with_capacity(tokens * 7),
            starts,
            special: Vec::with_capacity(tokens),
        }
    }

    /// Appends the token with the next id.
    pub(super) fn push(&mut self, bytes: impl IntoIterator<Item = u8>, special: bool) {
        self.bytes.extend(bytes);
        self.starts.push(self.bytes.len() as u32);
        self.special.push(special);
    }

    /// Number of tokens: one more than the highest id.
    pub(super) fn len(&self) -> usize {
        self.special.len()
    }

    pub(super) fn bytes(&self, id: u32) -> Result<&[u8], TextError> {
        let index = id as usize;
        match (self.starts.get(index), self.starts.get(index + 1)) {
            (Some(&start), Some(&end)) => Ok(&self.bytes[start as usize..end as usize]),
            _ => Err(TextError::TokenIdOutOfRange {
                id,
                vocab_size: self.len(),
            }),
        }
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special.get(id as usize).copied().unwrap_or(false)
    }
}

/// Inverse of GPT-2's byte alphabet, in which byte-level vocabularies are written: printable Latin-1 stands for
/// itself, the other 68 bytes for U+0100 onwards in order. A token with any other character stands for its own text.
pub(super) fn token_bytes(token: &str) -> Vec<u8> {
    token
        .chars()
        .map(byte_of)
        .collect::<Option<_>>()
        .unwrap_or_else(|| token.as_bytes().to_vec())
}

fn byte_of(character: char) -> Option<u8> {
    match character as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_every_byte_once() {
        let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
    }
}
