//! The parts of a `tokenizer.json`, and which of their many kinds are understood.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use tokenizers::models::bpe::{Merges, Vocab};

use super::{
    TextError,
    tokenizer::{SplitStep, field},
};

#[derive(Deserialize)]
pub(super) struct TokenizerFile {
    #[serde(default)]
    pub added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pub pre_tokenizer: Value,
    #[serde(default)]
    pub post_processor: Value,
    #[serde(default)]
    decoder: Value,
    pub model: Model,
}

#[derive(Deserialize)]
pub(super) struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    pub special: bool,
}

impl AddedToken {
    pub(super) fn to_added_token(&self) -> tokenizers::AddedToken {
        tokenizers::AddedToken::from(self.content.as_str(), self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized)
    }
}

#[derive(Deserialize)]
pub(super) struct Model {
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(default)]
    dropout: Value,
    #[serde(default)]
    continuing_subword_prefix: Value,
    #[serde(default)]
    end_of_word_suffix: Value,
    #[serde(default)]
    byte_fallback: bool,
    /// A word that is a token is that token, whatever the merges say.
    #[serde(default)]
    pub ignore_merges: bool,
    pub vocab: Vocab,
    #[serde(deserialize_with = "merges")]
    pub merges: Merges,
}

/// Merges in rank order, each `["a", "b"]` or (older files) `"a b"`.
fn merges<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Merges, D::Error> {
    struct Merge((String, String));
    impl<'de> Deserialize<'de> for Merge {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(MergeVisitor).map(Merge)
        }
    }
    struct MergeVisitor;
    impl<'de> de::Visitor<'de> for MergeVisitor {
        type Value = (String, String);
        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("a merge: [\"a\", \"b\"] or \"a b\"")
        }
        fn visit_str<E: de::Error>(self, merge: &str) -> Result<Self::Value, E> {
            match merge.split_once(' ') {
                Some((left, right)) if !right.contains(' ') => Ok((left.to_owned(), right.to_owned())),
                _ => Err(E::invalid_value(de::Unexpected::Str(merge), &self)),
            }
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut next = |index| {
                sequence
                    .next_element()?
                    .ok_or_else(|| de::Error::invalid_length(index, &self))
            };
            Ok((next(0)?, next(1)?))
        }
    }
    struct MergesVisitor;
    impl<'de> de::Visitor<'de> for MergesVisitor {
        type Value = Merges;
        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("a list of merges")
        }
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Merges, A::Error> {
            let mut merges = Merges::new();
            while let Some(Merge(merge)) = sequence.next_element()? {
                merges.push(merge);
            }
            Ok(merges)
        }
    }
    deserializer.deserialize_seq(MergesVisitor)
}

/// Refuses what would tokenize differently from how it is done here.
pub(super) fn check(file: &TokenizerFile) -> Result<(), TextError> {
    let model = &file.model;
    if !(model.kind == "BPE" || model.kind.is_null()) {
        return Err(field("model.type", &model.kind, "\"BPE\""));
    }
    if model.byte_fallback {
        return Err(field("model.byte_fallback", true, "false"));
    }
    let absent = |value: &Value| value.is_null() || *value == "" || *value == 0.0;
    for (name, value, expected) in [
        ("model.dropout", &model.dropout, "null"),
        (
            "model.continuing_subword_prefix",
            &model.continuing_subword_prefix,
            "null",
        ),
        ("model.end_of_word_suffix", &model.end_of_word_suffix, "null"),
        ("normalizer", &file.normalizer, "null"),
    ] {
        if !absent(value) {
            return Err(field(name, value, expected));
        }
    }
    match kinds(&file.decoder, "decoders")[..] {
        [decoder] if decoder["type"] == "ByteLevel" => Ok(()),
        _ => Err(field("decoder", &file.decoder, "a ByteLevel decoder")),
    }
}

/// The members of a `Sequence`, or the component itself.
fn kinds<'a>(component: &'a Value, members: &str) -> Vec<&'a Value> {
    if component["type"] == "Sequence" {
        component[members].as_array().into_iter().flatten().collect()
    } else if component.is_null() {
        Vec::new()
    } else {
        vec![component]
    }
}

/// The steps of `pre_tokenizer`: patterns, and at the end the byte alphabet.
pub(super) fn splits(pre_tokenizer: &Value) -> Result<Vec<SplitStep>, TextError> {
    let steps = kinds(pre_tokenizer, "pretokenizers").into_iter().map(|step| {
        let parsed = match step["type"].as_str() {
            Some("Split") => Deserialize::deserialize(step).map(SplitStep::Pattern),
            Some("ByteLevel") => Deserialize::deserialize(step).map(SplitStep::Bytes),
            _ => return Err(field("pre_tokenizer", step, "a Split or a ByteLevel")),
        };
        parsed.map_err(|error| field("pre_tokenizer", step, format!("one that can be read ({error})")))
    });
    let steps: Vec<_> = steps.collect::<Result<_, _>>()?;
    match steps.last() {
        Some(SplitStep::Bytes(_)) => Ok(steps),
        _ => Err(field("pre_tokenizer", pre_tokenizer, "a ByteLevel as its last step")),
    }
}

/// The ids that `post_processor` puts before and after one sequence.
pub(super) fn sequence_frame(
    post_processor: &Value,
    token_to_id: impl Fn(&str) -> Option<u32>,
) -> Result<(Vec<u32>, Vec<u32>), TextError> {
    let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
    for processor in kinds(post_processor, "processors") {
        match processor["type"].as_str() {
            Some("ByteLevel") => continue, // trims offsets only
            Some("TemplateProcessing") => {}
            _ => {
                return Err(field(
                    "post_processor",
                    processor,
                    "a TemplateProcessing or a ByteLevel",
                ));
            }
        }
        let mut around = &mut prefix;
        for piece in processor["single"].as_array().into_iter().flatten() {
            if piece["Sequence"].is_object() {
                around = &mut suffix;
            } else {
                let token = piece["SpecialToken"]["id"].as_str().unwrap_or_default();
                let id = token_to_id(token)
                    .ok_or_else(|| field("post_processor.single", piece, "a sequence or a special token"))?;
                around.push(id);
            }
        }
    }
    Ok((prefix, suffix))
}
