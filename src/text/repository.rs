//! The text side of a repository: its tokenizer, its template and the ids that end a turn.

use serde::Deserialize;

use crate::{
    Result,
    checkpoint::{ByteSource, CheckpointError, Repository},
    text::{ChatTemplate, Message, TextError, Tokenizer, encode_chat, template::TokenizerConfig},
};

/// What a model needs to read and write text.
pub struct Text {
    pub tokenizer: Tokenizer,
    /// Base models have none.
    pub template: Option<ChatTemplate>,
    /// Every id that ends a generation, ascending: the eos ids of `generation_config.json` and `config.json`, the
    /// tokenizer's `eos_token`, and `<|eot|>`.
    pub stop_token_ids: Vec<u32>,
}

/// Llama-3's `tokenizer.json` has 17 MB.
const TOKENIZER_LIMIT_BYTES: u64 = 128 << 20;
const CONFIG_LIMIT_BYTES: u64 = 8 << 20;

impl Text {
    /// Reads `tokenizer.json` (required) and, where they exist, `tokenizer_config.json`, `chat_template.jinja`,
    /// `special_tokens_map.json`, `generation_config.json` and `config.json`.
    pub async fn open(repository: &impl Repository) -> Result<Text> {
        let json = read(repository, "tokenizer.json", TOKENIZER_LIMIT_BYTES).await?;
        let json = json.ok_or(CheckpointError::MissingFile {
            file: "tokenizer.json".to_owned(),
        })?;
        let tokenizer = Tokenizer::from_json(&json)?;
        drop(json);

        let mut config = TokenizerConfig::default();
        for file in ["tokenizer_config.json", "special_tokens_map.json"] {
            if let Some(json) = read(repository, file, CONFIG_LIMIT_BYTES).await? {
                config = config.or(TokenizerConfig::from_json(file, &json)?);
            }
        }
        // Newer repositories keep the template in a file of its own, which then counts.
        if let Some(source) = read(repository, "chat_template.jinja", CONFIG_LIMIT_BYTES).await? {
            let source = String::from_utf8(source).map_err(|error| TextError::NotUtf8 {
                file: "chat_template.jinja",
                source: error.utf8_error(),
            })?;
            config.set_template(source);
        }

        let eos_token = config.special_tokens().remove("eos_token");
        let end_tokens = eos_token.as_deref().into_iter().chain(["<|eot|>"]);
        let mut stop_token_ids: Vec<u32> = end_tokens.filter_map(|token| tokenizer.token_to_id(token)).collect();
        for file in ["generation_config.json", "config.json"] {
            if let Some(json) = read(repository, file, CONFIG_LIMIT_BYTES).await? {
                let eos: EosTokens =
                    serde_json::from_slice(&json).map_err(|source| TextError::Json { file, source })?;
                stop_token_ids.extend(eos.ids());
            }
        }
        stop_token_ids.sort_unstable();
        stop_token_ids.dedup();

        let template = match config.into_template() {
            Err(TextError::MissingChatTemplate) => None,
            template => Some(template?),
        };
        Ok(Text {
            tokenizer,
            template,
            stop_token_ids,
        })
    }

    /// The ids of a conversation, see [`encode_chat`]; an error for Base models, which have no template.
    pub fn encode_chat(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>, TextError> {
        let template = self.template.as_ref().ok_or(TextError::MissingChatTemplate)?;
        encode_chat(&self.tokenizer, template, messages, add_generation_prompt)
    }
}

async fn read(repository: &impl Repository, file: &'static str, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
    let Some(source) = repository.open(file).await? else {
        return Ok(None);
    };
    let found_bytes = source.len_bytes();
    if found_bytes > limit_bytes {
        return Err(TextError::FileTooLarge {
            file,
            found_bytes,
            limit_bytes,
        }
        .into());
    }
    let mut bytes = vec![0; found_bytes as usize];
    source.read(0, &mut bytes).await?;
    Ok(Some(bytes))
}

/// `eos_token_id` of a configuration: an id or a list of them.
#[derive(Deserialize)]
struct EosTokens {
    #[serde(default)]
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl EosTokens {
    fn ids(self) -> Vec<u32> {
        match self.eos_token_id {
            None => Vec::new(),
            Some(OneOrMany::One(id)) => vec![id],
            Some(OneOrMany::Many(ids)) => ids,
        }
    }
}
