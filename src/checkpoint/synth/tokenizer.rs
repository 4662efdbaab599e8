//! A tokenizer of any vocabulary size, in the form of the published ones: byte-level BPE, the same special tokens in the
//! same order, the same chat template. Beyond the 256 bytes its tokens are syllables and words made of them, so that
//! what a random model writes can at least be pronounced.

use serde_json::{Value, json};

const CHAT_TEMPLATE: &str = "{{- bos_token }}{%- for message in messages %}{{- '<|header_start|>' + message['role'] + \
    '<|header_end|>\n\n' + message['content'] + '<|eot|>' }}{%- endfor %}{%- if add_generation_prompt %}{{- \
    '<|header_start|>assistant<|header_end|>\n\n' }}{%- endif %}";

/// How Llama 3 splits text before merging.
const SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The special tokens: the last ids of the vocabulary, in the published order.
pub(super) struct Specials {
    first: usize,
    count: usize,
}

impl Specials {
    /// 256 of them as in the published tokenizer, or 16 if that would be most of the vocabulary.
    pub fn of(vocab: usize) -> Specials {
        let count = if vocab >= 4096 { 256 } else { 16.min(vocab) };
        Specials {
            first: vocab - count,
            count,
        }
    }

    pub fn begin_of_text(&self) -> usize {
        self.first
    }

    pub fn end_of_text(&self) -> usize {
        self.first + 1
    }

    pub fn eot(&self) -> usize {
        self.first + 8
    }

    fn name(i: usize) -> String {
        const KNOWN: [&str; 9] = [
            "begin_of_text",
            "end_of_text",
            "fim_prefix",
            "fim_middle",
            "fim_suffix",
            "header_start",
            "header_end",
            "eom",
            "eot",
        ];
        KNOWN.get(i).map_or_else(
            || format!("<|reserved_special_token_{i}|>"),
            |name| format!("<|{name}|>"),
        )
    }
}

/// `tokenizer.json` and `tokenizer_config.json` for a vocabulary of that size. Below 272 there is no room for the bytes
/// and the special tokens: no files.
pub(super) fn files(vocab: usize) -> Vec<(&'static str, String)> {
    let specials = Specials::of(vocab);
    if specials.first < 256 {
        return Vec::new();
    }
    let mut tokens: Vec<String> = byte_characters().iter().map(char::to_string).collect();
    let merges = words(specials.first - 256);
    tokens.extend(merges.iter().map(|(left, right)| format!("{left}{right}")));
    let vocabulary: serde_json::Map<String, Value> = tokens
        .into_iter()
        .enumerate()
        .map(|(id, token)| (token, Value::from(id)))
        .collect();

    let flags = json!({"lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true});
    let mut added_tokens = Vec::new();
    let mut added_tokens_decoder = serde_json::Map::new();
    for i in 0..specials.count {
        let id = specials.first + i;
        let mut token = flags.clone();
        token["content"] = Specials::name(i).into();
        added_tokens_decoder.insert(id.to_string(), token.clone());
        token["id"] = id.into();
        added_tokens.push(token);
    }
    let begin = Specials::name(0);
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
            {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [
                    {"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": begin, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}},
                ],
                "special_tokens": {begin.as_str(): {"id": begin, "ids": [specials.begin_of_text()], "tokens": [begin]}},
            },
        ]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": true,
            "vocab": vocabulary,
            "merges": merges,
        },
    });
    let config = json!({
        "added_tokens_decoder": added_tokens_decoder,
        "bos_token": begin,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": false,
        "eos_token": Specials::name(8),
        "extra_special_tokens": {},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 8192,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    vec![
        ("tokenizer.json", tokenizer.to_string()),
        ("tokenizer_config.json", format!("{config:#}\n")),
    ]
}

/// The character that stands for each byte in byte-level BPE: printable ones for themselves, the others from U+0100 on.
/// Ordered as in the published vocabulary, printable bytes first.
fn byte_characters() -> Vec<char> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let (themselves, others): (Vec<u8>, Vec<u8>) = (0..=255).partition(|&byte| printable(byte));
    let others = (0..others.len() as u32).filter_map(|i| char::from_u32(0x100 + i));
    themselves.into_iter().map(char::from).chain(others).collect()
}

/// The first `count` merges: syllables, syllables after a space, then words of two and three syllables.
fn words(count: usize) -> Vec<(String, String)> {
    let syllables: Vec<(String, String)> = "bdfghjklmnprstvwz"
        .chars()
        .flat_map(|consonant| {
            "aeiou"
                .chars()
                .map(move |vowel| (consonant.to_string(), vowel.to_string()))
        })
        .collect();
    let plain: Vec<String> = syllables
        .iter()
        .map(|(consonant, vowel)| format!("{consonant}{vowel}"))
        .collect();
    // U+0120 stands for the space.
    let spaced: Vec<String> = plain.iter().map(|syllable| format!("\u{120}{syllable}")).collect();
    let doubles = |firsts: &[String]| -> Vec<(String, String)> {
        let pair = |left: &String, right: &String| (left.clone(), right.clone());
        firsts
            .iter()
            .flat_map(|left| plain.iter().map(move |right| pair(left, right)))
            .collect()
    };
    let joined = |pairs: &[(String, String)]| -> Vec<String> { pairs.iter().map(|(l, r)| format!("{l}{r}")).collect() };

    let mut merges = syllables;
    merges.extend(plain.iter().map(|syllable| ("\u{120}".to_string(), syllable.clone())));
    let mut longest = spaced;
    while merges.len() < count {
        let next = doubles(&longest);
        // Only as many as the next round can need.
        longest = joined(&next[..next.len().min(count)]);
        merges.extend(next);
    }
    merges.truncate(count);
    merges
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_id_has_a_token_of_its_own() {
        for vocab in [272, 512, 4096, 128_256] {
            let files = files(vocab);
            let tokenizer: Value = serde_json::from_str(&files[0].1).unwrap();
            let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
            let mut ids: HashSet<u64> = vocabulary.values().filter_map(Value::as_u64).collect();
            ids.extend(
                tokenizer["added_tokens"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|token| token["id"].as_u64()),
            );
            assert_eq!((ids.len(), ids.into_iter().max()), (vocab, Some(vocab as u64 - 1)));
            // Every merge joins two tokens into a third.
            for merge in tokenizer["model"]["merges"].as_array().unwrap() {
                let [left, right] = [0, 1].map(|i| merge[i].as_str().unwrap());
                assert!(
                    [left.into(), right.into(), format!("{left}{right}")]
                        .iter()
                        .all(|t| vocabulary.contains_key(t))
                );
            }
        }
        assert!(files(271).is_empty());
    }

    #[test]
    fn special_tokens_have_their_published_ids() {
        let specials = Specials::of(128_256);
        assert_eq!(
            (specials.begin_of_text(), specials.end_of_text(), specials.eot()),
            (128_000, 128_001, 128_008)
        );
        assert_eq!([5, 6].map(Specials::name), ["<|header_start|>", "<|header_end|>"]);
    }
}
