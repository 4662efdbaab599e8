//! Tokenizer, chat template, incremental detokenizer, stop strings: everything between strings and token ids.

mod chat;
mod detokenize;
mod error;
mod python_json;
mod repository;
mod stop;
mod template;
mod tokenizer;
mod tokenizer_file;
mod vocabulary;

pub use chat::encode_chat;
pub use detokenize::Detokenizer;
pub use error::{BrokenTemplate, TextError};
pub use repository::Text;
pub use stop::{StopStep, StopStrings};
pub use template::{ChatTemplate, Content, Message, Part};
pub use tokenizer::Tokenizer;
