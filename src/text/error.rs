//! What can be wrong with a repository's text files, or with what is asked of them.

use crate::json::{Imposter, JsonError};

/// Failures of the tokenizer, the chat template and stop strings.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("tokenizer.json cannot be read: {0}")]
    TokenizerJson(#[source] JsonError),
    #[error("tokenizer.json: `{field}` is {found}; expected {expected}")]
    TokenizerField {
        field: String,
        found: String,
        expected: String,
    },
    #[error("the tokenizer failed on a text of {text_bytes} bytes: {message}")]
    Encode { text_bytes: usize, message: String },
    #[error("token id {id} is out of range: the tokenizer has {vocab_size} tokens")]
    TokenIdOutOfRange { id: u32, vocab_size: usize },
    #[error("{file} cannot be read: {source}")]
    Json { file: &'static str, source: JsonError },
    #[error("{file} cannot be read: {imposter}")]
    NoTemplate { file: &'static str, imposter: Imposter },
    #[error("{file} is not UTF-8: {source}")]
    NotUtf8 {
        file: &'static str,
        source: std::str::Utf8Error,
    },
    #[error("{file} is {found_bytes} bytes long; expected at most {limit_bytes}")]
    FileTooLarge {
        file: &'static str,
        found_bytes: u64,
        limit_bytes: u64,
    },
    #[error("the repository has no chat template (Base models have none): pass a plain prompt instead of messages")]
    MissingChatTemplate,
    #[error("tokenizer_config.json: `chat_template` holds {names:?}; expected one of them to be named \"default\"")]
    NoDefaultChatTemplate { names: Vec<String> },
    /// What stood in the way when the template was read: chats fail with it, plain prompts do not need it.
    #[error(transparent)]
    BrokenTemplate(#[from] BrokenTemplate),
    #[error("the chat template does not parse: {0}")]
    ChatTemplateSyntax(#[source] minijinja::Error),
    #[error("the chat template failed: {0}")]
    ChatTemplateRender(#[source] minijinja::Error),
    /// The template called `raise_exception`: it does not take these messages.
    #[error("the chat template refuses these messages: {0}")]
    ChatTemplateRefusal(String),
    /// A content spells a special token and the template changes contents in a way that hides where they end up.
    #[error("messages[{message}] spells a special token, which this chat template would turn into a real one")]
    SpecialTokenInContent { message: usize },
    #[error("messages[{message}].role is {role:?}; expected a name without special tokens")]
    SpecialTokenInRole { message: usize, role: String },
    #[error("stop[{index}] is empty; expected at least one character")]
    EmptyStopString { index: usize },
}

/// Why a repository has no chat template that can be used; kept, to be told to each chat.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct BrokenTemplate {
    code: &'static str,
    message: String,
}

impl From<TextError> for BrokenTemplate {
    fn from(error: TextError) -> Self {
        BrokenTemplate {
            code: error.code(),
            message: error.to_string(),
        }
    }
}

impl TextError {
    /// The variant's name.
    pub fn code(&self) -> &'static str {
        match self {
            TextError::TokenizerJson(_) => "TokenizerJson",
            TextError::TokenizerField { .. } => "TokenizerField",
            TextError::Encode { .. } => "Encode",
            TextError::TokenIdOutOfRange { .. } => "TokenIdOutOfRange",
            TextError::Json { .. } => "Json",
            TextError::NoTemplate { .. } => "NoTemplate",
            TextError::NotUtf8 { .. } => "NotUtf8",
            TextError::FileTooLarge { .. } => "FileTooLarge",
            TextError::MissingChatTemplate => "MissingChatTemplate",
            TextError::NoDefaultChatTemplate { .. } => "NoDefaultChatTemplate",
            TextError::BrokenTemplate(broken) => broken.code,
            TextError::ChatTemplateSyntax(_) => "ChatTemplateSyntax",
            TextError::ChatTemplateRender(_) => "ChatTemplateRender",
            TextError::ChatTemplateRefusal(_) => "ChatTemplateRefusal",
            TextError::SpecialTokenInContent { .. } => "SpecialTokenInContent",
            TextError::SpecialTokenInRole { .. } => "SpecialTokenInRole",
            TextError::EmptyStopString { .. } => "EmptyStopString",
        }
    }
}
