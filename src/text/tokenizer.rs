//! `tokenizer.json` -> a byte-level BPE tokenizer.
//!
//! The BPE model, the regular-expression split and the search for added tokens are the `tokenizers` crate's; its
//! generic reader is not used, because it buffers the whole file as a tree. Here the vocabulary and the merges go
//! from the JSON text straight into the model's own tables, and only the kinds of parts that a Llama-3 tokenizer is
//! made of are known, which also keeps the others out of the WASM file.

use std::sync::Arc;

use tokenizers::{
    AddedVocabulary, Model, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _,
    models::bpe::{BPE, Merges},
    normalizers::NFC,
    pre_tokenizers::{byte_level::ByteLevel, split::Split},
};

use crate::json;

use super::{
    TextError,
    detokenize::{Detokenizer, into_text},
    tokenizer_file::{self, TokenizerFile},
    vocabulary::{Vocabulary, token_bytes},
};

/// Text to token ids and back, as the repository's `tokenizer.json` says.
pub struct Tokenizer {
    model: BPE,
    splits: Vec<SplitStep>,
    /// Finds every added token in a text.
    added: AddedVocabulary,
    /// Finds only the added tokens that are not special.
    added_ordinary: AddedVocabulary,
    vocabulary: Arc<Vocabulary>,
    /// Ids the post-processor puts around a sequence: for Llama-3 the beginning-of-text token and nothing.
    prefix_ids: Vec<u32>,
    suffix_ids: Vec<u32>,
}

/// One step from text to the words that BPE works on.
pub(super) enum SplitStep {
    Pattern(Split),
    Bytes(ByteLevel),
}

/// A stretch of text cut at its special tokens.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    Ordinary(&'a str),
    Added(u32),
}

/// No tokenizer of the family normalizes; the crate wants a type all the same.
const NO_NORMALIZER: Option<&NFC> = None;

impl Tokenizer {
    /// Reads a `tokenizer.json`: BPE over bytes, merges as pairs or as `"a b"` strings. Any other kind of tokenizer
    /// is an error that names the field.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TextError> {
        let file: TokenizerFile = json::from_slice(bytes).map_err(TextError::TokenizerJson)?;
        let splits = tokenizer_file::splits(&file.pre_tokenizer)?;
        tokenizer_file::check(&file)?;
        let mut added_tokens = file.added_tokens;
        added_tokens.sort_by_key(|token| token.id);

        let vocabulary = vocabulary(&file.model.vocab, &added_tokens)?;
        check_merges(&file.model.vocab, &file.model.merges)?;
        let model = BPE::builder()
            .vocab_and_merges(file.model.vocab, file.model.merges)
            .ignore_merges(file.model.ignore_merges)
            .build()
            .map_err(|error| field("model.merges", error, "merges of tokens of `model.vocab`"))?;

        let mut added = AddedVocabulary::new();
        added
            .add_tokens(
                added_tokens.iter().map(|token| token.to_added_token()),
                &model,
                NO_NORMALIZER,
            )
            .map_err(|error| field("added_tokens", error, "distinct tokens"))?;
        for token in &added_tokens {
            let found = added.token_to_id(&token.content, &model);
            if found != Some(token.id) {
                let found = format!(
                    "{:?} with id {} (the vocabulary says {found:?})",
                    token.content, token.id
                );
                return Err(field(
                    "added_tokens",
                    found,
                    "ids that continue the vocabulary's without a gap",
                ));
            }
        }
        let mut added_ordinary = AddedVocabulary::new();
        added_ordinary
            .add_tokens(
                added_tokens.iter().map(|token| token.to_added_token()),
                &model,
                NO_NORMALIZER,
            )
            .map_err(|error| field("added_tokens", error, "distinct tokens"))?;
        added_ordinary.set_encode_special_tokens(true);

        let (prefix_ids, suffix_ids) =
            tokenizer_file::sequence_frame(&file.post_processor, |token| added.token_to_id(token, &model))?;
        Ok(Tokenizer {
            model,
            splits,
            added,
            added_ordinary,
            vocabulary: Arc::new(vocabulary),
            prefix_ids,
            suffix_ids,
        })
    }

    /// Token ids of a text.
    ///
    /// `add_special_tokens` puts what the post-processor prescribes around them (the beginning-of-text token).
    /// `parse_special`: a special token spelled in the text becomes its id; otherwise its letters are encoded like
    /// any others. Text from outside belongs behind `parse_special = false`.
    pub fn encode(&self, text: &str, add_special_tokens: bool, parse_special: bool) -> Result<Vec<u32>, TextError> {
        let mut ids = Vec::new();
        if add_special_tokens {
            ids.extend(&self.prefix_ids);
        }
        self.encode_into(text, parse_special, &mut ids)?;
        if add_special_tokens {
            ids.extend(&self.suffix_ids);
        }
        Ok(ids)
    }

    /// Appends the ids of a text to `ids`, nothing around them.
    pub(super) fn encode_into(&self, text: &str, parse_special: bool, ids: &mut Vec<u32>) -> Result<(), TextError> {
        let added = if parse_special {
            &self.added
        } else {
            &self.added_ordinary
        };
        let mut words = added.extract_and_normalize(NO_NORMALIZER, text);
        self.encode_words(&mut words).map_err(|error| TextError::Encode {
            text_bytes: text.len(),
            message: error.to_string(),
        })?;
        let splits = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
        ids.extend(
            splits
                .iter()
                .filter_map(|(_, _, tokens)| tokens.as_ref())
                .flatten()
                .map(|token| token.id),
        );
        Ok(())
    }

    fn encode_words(&self, words: &mut PreTokenizedString) -> tokenizers::Result<()> {
        for step in &self.splits {
            match step {
                SplitStep::Pattern(split) => split.pre_tokenize(words)?,
                SplitStep::Bytes(byte_level) => byte_level.pre_tokenize(words)?,
            }
        }
        words.tokenize(|word| self.model.tokenize(word.get()))
    }

    /// Cuts a text at the added tokens spelled in it.
    pub(super) fn pieces<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let found = self.added.extract_and_normalize(NO_NORMALIZER, text);
        let splits = found.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let pieces = splits.into_iter().map(|(_, (start, end), tokens)| match tokens {
            Some(tokens) => Piece::Added(tokens[0].id),
            None => Piece::Ordinary(&text[start..end]),
        });
        pieces.collect()
    }

    /// Whether a special token is spelled in the text.
    pub(super) fn spells_special(&self, text: &str) -> bool {
        self.pieces(text)
            .iter()
            .any(|piece| matches!(piece, Piece::Added(id) if self.is_special(*id)))
    }

    /// Text of the ids. Spaces are left as they are (`clean_up_tokenization_spaces` is never applied: it eats spaces
    /// in code); bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            let token = self.vocabulary.bytes(id)?;
            if !(skip_special && self.is_special(id)) {
                bytes.extend_from_slice(token);
            }
        }
        Ok(into_text(bytes))
    }

    /// A decoder for ids that arrive one by one.
    pub fn detokenizer(&self, skip_special: bool) -> Detokenizer {
        Detokenizer::new(self.vocabulary.clone(), skip_special)
    }

    /// Number of tokens, special ones included: one more than the highest id.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// What a token stands for; need not be valid UTF-8 on its own.
    pub fn bytes(&self, id: u32) -> Result<&[u8], TextError> {
        self.vocabulary.bytes(id)
    }

    /// The id of a token as `tokenizer.json` spells it.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.added.token_to_id(token, &self.model)
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.vocabulary.is_special(id)
    }
}

/// The bytes of every token; ids must be 0, 1, 2, ... without a gap.
fn vocabulary(
    vocab: &tokenizers::models::bpe::Vocab,
    added_tokens: &[tokenizer_file::AddedToken],
) -> Result<Vocabulary, TextError> {
    let mut token_of: Vec<Option<&str>> = vec![None; vocab.len()];
    for (token, &id) in vocab {
        match token_of.get_mut(id as usize) {
            Some(slot @ None) => *slot = Some(token),
            _ => {
                return Err(field(
                    "model.vocab",
                    format!("{token:?}: {id}"),
                    "every id from 0 on exactly once",
                ));
            }
        }
    }
    let mut vocabulary = Vocabulary::with_capacity(vocab.len() + added_tokens.len());
    let mut added = added_tokens.iter().peekable();
    for (id, token) in token_of.into_iter().enumerate() {
        // A token of the model may be declared special among the added ones as well.
        let declared = added.next_if(|token| token.id as usize == id);
        match declared {
            Some(token) => vocabulary.push(token.content.bytes(), token.special),
            None => vocabulary.push(token_bytes(token.unwrap_or_default()), false),
        }
    }
    for token in added {
        vocabulary.push(token.content.bytes(), token.special);
    }
    Ok(vocabulary)
}

/// The model's builder would panic on a merge that is longer than any token.
fn check_merges(vocab: &tokenizers::models::bpe::Vocab, merges: &Merges) -> Result<(), TextError> {
    let longest_bytes = vocab.keys().map(String::len).max().unwrap_or(0);
    match merges
        .iter()
        .find(|(left, right)| left.len() + right.len() > longest_bytes)
    {
        Some(merge) => Err(field(
            "model.merges",
            format!("{merge:?}"),
            "merges of tokens of `model.vocab`",
        )),
        None => Ok(()),
    }
}

pub(super) fn field(field: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> TextError {
    TextError::TokenizerField {
        field: field.into(),
        found: found.to_string(),
        expected: expected.into(),
    }
}
