//! A tokenizer's tokens as llguidance wants them.

use std::sync::Arc;

use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use crate::ConstraintError;

/// Every token's bytes; the ids that end an answer.
pub struct Vocabulary {
    /// All tokens' bytes, in id order.
    pub bytes: Vec<u8>,
    /// Token `id` is `bytes[ends[id - 1]..ends[id]]`, the first one `bytes[..ends[0]]`.
    pub ends: Vec<u32>,
    /// Special tokens stand for no text, whatever they are spelled like.
    pub special: Vec<bool>,
    pub end_ids: Vec<u32>,
}

impl Vocabulary {
    pub(crate) fn environment(&self) -> Result<TokEnv, ConstraintError> {
        let refuse = |detail: String| ConstraintError::Vocabulary { detail };
        let size = self.special.len();
        if self.ends.len() != size {
            return Err(refuse(format!("{} ends for {size} tokens", self.ends.len())));
        }
        let mut start = 0;
        let words = self.ends.iter().zip(&self.special).map(|(end, special)| {
            let token = self.bytes.get(start..*end as usize)?;
            start = *end as usize;
            let marker: &[u8] = if *special {
                &[TokTrie::SPECIAL_TOKEN_MARKER]
            } else {
                &[]
            };
            Some([marker, token].concat())
        });
        let words: Option<Vec<Vec<u8>>> = words.collect();
        let words = words.ok_or_else(|| refuse(format!("a token lies outside of {} bytes", self.bytes.len())))?;
        let &[end_id, ..] = &self.end_ids[..] else {
            return Err(refuse("it has no token that ends an answer".into()));
        };
        if let Some(id) = self.end_ids.iter().find(|id| **id as usize >= size) {
            return Err(refuse(format!("end token {id} of {size}")));
        }
        let trie = TokTrie::from(&TokRxInfo::new(size as u32, end_id), &words).with_eos_tokens(&self.end_ids);
        Ok(Arc::new(ApproximateTokEnv::new(trie)))
    }
}
