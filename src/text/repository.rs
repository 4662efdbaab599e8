//! The text side of a repository: its tokenizer, its template and the ids that end a turn.

use serde::Deserialize;

use crate::{
    Result,
    checkpoint::{ByteSource, CheckpointError, Repository},
    json,
    text::{BrokenTemplate, ChatTemplate, Message, TextError, Tokenizer, encode_chat, template::TokenizerConfig},
};

/// What a model needs to read and write text.
pub struct Text {
    pub tokenizer: Tokenizer,
    /// Base models have none; one that cannot be used fails chats, not the loading.
    pub template: Result<ChatTemplate, BrokenTemplate>,
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
        let special_tokens = config.special_tokens();
        let template = template(repository, config).await?;

        let eos_token = special_tokens.get("eos_token").map(String::as_str);
        let end_tokens = eos_token.into_iter().chain(["<|eot|>"]);
        let mut stop_token_ids: Vec<u32> = end_tokens.filter_map(|token| tokenizer.token_to_id(token)).collect();
        for file in ["generation_config.json", "config.json"] {
            if let Some(json) = read(repository, file, CONFIG_LIMIT_BYTES).await? {
                let eos: EosTokens = json::from_slice(&json).map_err(|source| TextError::Json { file, source })?;
                stop_token_ids.extend(eos.ids());
            }
        }
        stop_token_ids.sort_unstable();
        stop_token_ids.dedup();

        Ok(Text {
            tokenizer,
            template,
            stop_token_ids,
        })
    }

    /// The ids of a conversation, see [`encode_chat`]; an error for Base models, which have no template.
    pub fn encode_chat(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>, TextError> {
        encode_chat(&self.tokenizer, self.template()?, messages, add_generation_prompt)
    }

    /// The chat template, or why there is none.
    pub fn template(&self) -> Result<&ChatTemplate, TextError> {
        self.template.as_ref().map_err(|broken| broken.clone().into())
    }
}

/// The template of `chat_template.jinja`, where newer repositories keep it; else of `tokenizer_config.json`; else of
/// `chat_template.json`, where processors of some years kept it.
async fn template(
    repository: &impl Repository,
    mut config: TokenizerConfig,
) -> Result<Result<ChatTemplate, BrokenTemplate>> {
    const FILE: &str = "chat_template.jinja";
    const JSON: &str = "chat_template.json";
    if let Some(source) = read(repository, FILE, CONFIG_LIMIT_BYTES).await? {
        match source_text(FILE, source) {
            Ok(source) => config.set_template(source),
            Err(error) if !config.has_template() => return Ok(Err(error.into())),
            Err(_) => {}
        }
    } else if !config.has_template()
        && let Some(json) = read(repository, JSON, CONFIG_LIMIT_BYTES).await?
    {
        match TokenizerConfig::from_json(JSON, &json) {
            Ok(other) => config = config.or(other),
            Err(error) => return Ok(Err(error.into())),
        }
    }
    Ok(config.into_template().map_err(BrokenTemplate::from))
}

fn source_text(file: &'static str, source: Vec<u8>) -> Result<String, TextError> {
    ChatTemplate::check_source(file, &source)?;
    String::from_utf8(source).map_err(|error| TextError::NotUtf8 {
        file,
        source: error.utf8_error(),
    })
}

async fn read(repository: &impl Repository, file: &'static str, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
    let opened = match file {
        "tokenizer.json" => repository.open(file).await?,
        _ => repository.open_optional(file).await?,
    };
    let Some(source) = opened else {
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
