//! The tokenizer: byte-level BPE learned from the corpus, written as the published ones are.

use anyhow::{Context, Result};
use fastrand::Rng;
use mobilemoe_web::{
    checkpoint::MemoryRepository,
    text::{Message, Text},
};
use pollster::block_on;
use serde_json::{Value, json};
use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    models::bpe::{BPE, BpeTrainer},
    pre_tokenizers::{
        byte_level::ByteLevel,
        split::{Split as SplitAt, SplitPattern},
    },
    tokenizer::Trainer,
};

use crate::corpus::{self, Split, Turn};

/// Special tokens: the last ids, in the published order.
pub const SPECIALS: [&str; 16] = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|header_start|>",
    "<|header_end|>",
    "<|eom|>",
    "<|eot|>",
    "<|step|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|reserved_special_token_2|>",
    "<|reserved_special_token_3|>",
    "<|reserved_special_token_4|>",
    "<|reserved_special_token_5|>",
];
pub const BEGIN_OF_TEXT: usize = 0;
pub const END_OF_TEXT: usize = 1;
const HEADER_START: usize = 5;
const HEADER_END: usize = 6;
pub const EOT: usize = 8;

/// The published template: contents may be strings or lists of parts.
const CHAT_TEMPLATE: &str = "{{- bos_token }}{%- for message in messages %}{{- '<|header_start|>' + message['role'] + \
    '<|header_end|>\n\n' }}{%- if message['content'] is string %}{{- message['content'] }}{%- else %}{%- for part in \
    message['content'] %}{%- if part['type'] == 'text' %}{{- part['text'] }}{%- endif %}{%- endfor %}{%- endif %}{{- \
    '<|eot|>' }}{%- endfor %}{%- if add_generation_prompt %}{{- \
    '<|header_start|>assistant<|header_end|>\n\n' }}{%- endif %}";

/// How Llama 3 splits text before merging.
const SPLIT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Texts the vocabulary is learned from.
const TEXTS: usize = 12_000;

/// The tokenizer, opened by the engine's own reader, and its files.
pub struct Vocabulary {
    pub text: Text,
    pub files: Vec<(&'static str, String)>,
    specials: u32,
    roles: [Vec<u32>; 2],
    blank_line: Vec<u32>,
}

/// Token ids of a document, and which of them are to be learned.
#[derive(Default)]
pub struct Document {
    pub ids: Vec<u32>,
    pub learned: Vec<bool>,
}

impl Vocabulary {
    /// Learns a vocabulary of `size` tokens, specials included.
    pub fn learn(size: usize, seed: u64) -> Result<Vocabulary> {
        let split = SplitAt::new(
            SplitPattern::Regex(SPLIT.into()),
            SplitDelimiterBehavior::Isolated,
            false,
        )
        .map_err(anyhow::Error::from_boxed)?;
        let bytes = ByteLevel::new(false, true, false);
        let mut random = Rng::with_seed(seed);
        let texts = (0..TEXTS).map(|i| match i % 3 {
            0 => corpus::story(&mut random, Split::Train),
            1 => corpus::statements(&mut random, Split::Train),
            _ => {
                let chat = corpus::short_conversation(&mut random, Split::Train, true);
                chat.iter()
                    .map(|turn| format!("user\n\n{}assistant\n\n{}\n\n", turn.question, turn.answer))
                    .collect()
            }
        });
        let mut trainer = BpeTrainer::builder()
            .vocab_size(size - SPECIALS.len())
            .min_frequency(0)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let words = |text: &str| -> tokenizers::Result<Vec<String>> {
            let mut words = PreTokenizedString::from(text);
            split.pre_tokenize(&mut words)?;
            bytes.pre_tokenize(&mut words)?;
            let parts = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
            Ok(parts.into_iter().map(|(word, _, _)| word.to_string()).collect())
        };
        trainer.feed(texts, words).map_err(anyhow::Error::from_boxed)?;
        let mut model = BPE::default();
        trainer.train(&mut model).map_err(anyhow::Error::from_boxed)?;
        let model = serde_json::to_value(&model)?;
        let learned = model["vocab"]
            .as_object()
            .context("a BPE model has a vocabulary")?
            .len();
        anyhow::ensure!(
            learned + SPECIALS.len() == size,
            "the corpus yields {learned} tokens, too few for a vocabulary of {size}"
        );
        Self::open(files(size, &model))
    }

    /// Opens the files as the engine does.
    pub fn open(files: Vec<(&'static str, String)>) -> Result<Vocabulary> {
        let mut repository = MemoryRepository::default();
        for (file, content) in &files {
            repository.insert(*file, content.as_bytes());
        }
        let text = block_on(Text::open(&repository))?;
        Ok(Vocabulary {
            files,
            ..Self::of(text)?
        })
    }

    /// Of a checkpoint that is there already.
    pub fn of(text: Text) -> Result<Vocabulary> {
        let specials = text
            .tokenizer
            .token_to_id(SPECIALS[0])
            .context("a begin-of-text token")?;
        let encode = |word: &str| text.tokenizer.encode(word, false, false);
        Ok(Vocabulary {
            roles: [encode("user")?, encode("assistant")?],
            blank_line: encode("\n\n")?,
            specials,
            files: Vec::new(),
            text,
        })
    }

    pub fn special(&self, token: usize) -> u32 {
        self.specials + token as u32
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        self.text
            .tokenizer
            .encode(text, false, false)
            .expect("text of this program's own")
    }

    /// A plain text between the tokens that begin and end one. All of it is learned.
    pub fn document(&self, text: &str) -> Document {
        let mut ids = vec![self.special(BEGIN_OF_TEXT)];
        ids.extend(self.encode(text));
        ids.push(self.special(END_OF_TEXT));
        Document {
            learned: vec![true; ids.len()],
            ids,
        }
    }

    /// A text twice, on two lines; only the second time is learned.
    pub fn copy(&self, text: &str) -> Document {
        let once = self.encode(&format!(" {text}\n"));
        let mut document = Document::default();
        document.push(&[self.special(BEGIN_OF_TEXT)], false);
        document.push(&once, false);
        document.push(&once, true);
        document
    }

    /// A conversation as the chat template writes it. Learned are the answers and the tokens that end them; with
    /// `questions`, everything.
    pub fn chat(&self, turns: &[Turn], questions: bool) -> Document {
        let mut document = Document::default();
        document.push(&[self.special(BEGIN_OF_TEXT)], questions);
        for turn in turns {
            for (role, content, learned) in [(0, &turn.question, questions), (1, &turn.answer, true)] {
                document.push(&[self.special(HEADER_START)], questions);
                document.push(&self.roles[role], questions);
                document.push(&[self.special(HEADER_END)], questions);
                document.push(&self.blank_line, questions);
                document.push(&self.encode(content), learned);
                document.push(&[self.special(EOT)], learned);
            }
        }
        document
    }

    /// What a model is asked to continue: all turns, the last one without its answer.
    pub fn prompt(&self, turns: &[Turn]) -> Result<Vec<u32>> {
        let mut messages = Vec::new();
        for turn in turns {
            messages.push(Message::new("user", turn.question.as_str()));
            messages.push(Message::new("assistant", turn.answer.as_str()));
        }
        messages.pop();
        Ok(self.text.encode_chat(&messages, true)?)
    }
}

impl Document {
    fn push(&mut self, ids: &[u32], learned: bool) {
        self.ids.extend(ids);
        self.learned.resize(self.ids.len(), learned);
    }
}

/// `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`.
fn files(size: usize, model: &Value) -> Vec<(&'static str, String)> {
    let first = size - SPECIALS.len();
    let flags = json!({"lstrip": false, "normalized": false, "rstrip": false, "single_word": false, "special": true});
    let mut added_tokens = Vec::new();
    let mut added_tokens_decoder = serde_json::Map::new();
    for (i, special) in SPECIALS.iter().enumerate() {
        let mut token = flags.clone();
        token["content"] = (*special).into();
        added_tokens_decoder.insert((first + i).to_string(), token.clone());
        token["id"] = (first + i).into();
        added_tokens.push(token);
    }
    let begin = SPECIALS[BEGIN_OF_TEXT];
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
                "special_tokens": {begin: {"id": begin, "ids": [first + BEGIN_OF_TEXT], "tokens": [begin]}},
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
            "vocab": model["vocab"],
            "merges": model["merges"],
        },
    });
    let config = json!({
        "added_tokens_decoder": added_tokens_decoder,
        "bos_token": begin,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": false,
        "eos_token": SPECIALS[EOT],
        "extra_special_tokens": {},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": crate::shape::CONTEXT,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    let generation = json!({
        "bos_token_id": first + BEGIN_OF_TEXT,
        "eos_token_id": [first + END_OF_TEXT, first + EOT],
        "do_sample": false,
    });
    vec![
        ("tokenizer.json", tokenizer.to_string()),
        ("tokenizer_config.json", format!("{config:#}\n")),
        ("generation_config.json", format!("{generation:#}\n")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Skill, conversation};

    #[test]
    fn chats_are_what_the_template_writes() {
        let vocabulary = Vocabulary::learn(1024, 1).unwrap();
        let mut random = Rng::with_seed(2);
        for skill in [Skill::Memory, Skill::Sums, Skill::Story] {
            let chat = conversation(&mut random, Split::Train, skill);
            let document = vocabulary.chat(&chat, false);
            let prompt = vocabulary.prompt(&chat).unwrap();
            assert_eq!(document.ids[..prompt.len()], prompt);
            // What follows the prompt is learned to the last token, which ends the turn.
            assert!(document.learned[prompt.len()..].iter().all(|&learned| learned));
            assert!(!document.learned[prompt.len() - 1]);
            assert_eq!(document.ids.last(), Some(&vocabulary.special(EOT)));
            let answer = vocabulary
                .text
                .tokenizer
                .decode(&document.ids[prompt.len()..], true)
                .unwrap();
            assert_eq!(answer, chat.last().unwrap().answer);
        }
    }
}
