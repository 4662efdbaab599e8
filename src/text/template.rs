//! Chat templates: messages -> the prompt's text, exactly as transformers' `apply_chat_template` renders it.

use std::{collections::BTreeMap, io};

use minijinja::{
    Environment, ErrorKind, Value, context,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde},
};
use serde::{Deserialize, Serialize};

use super::TextError;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: String,
    pub content: Content,
}

impl Message {
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Message {
            role: role.into(),
            content: Content::Text(content.into()),
        }
    }
}

/// What is said: a string, or a list of parts as OpenAI-style callers send it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a content. The models read text only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    Text { text: String },
}

impl Content {
    /// Every text in it, in order.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Content::Text(text) => vec![text],
            Content::Parts(parts) => parts.iter().map(|Part::Text { text }| text.as_str()).collect(),
        }
    }

    /// The same with every text replaced.
    pub(super) fn map(&self, change: impl Fn(&str) -> String) -> Content {
        match self {
            Content::Text(text) => Content::Text(change(text)),
            Content::Parts(parts) => Content::Parts(
                parts
                    .iter()
                    .map(|Part::Text { text }| Part::Text { text: change(text) })
                    .collect(),
            ),
        }
    }
}

/// A repository's chat template, compiled.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// `bos_token`, `eos_token` and the like, as templates name them.
    special_tokens: BTreeMap<String, String>,
}

/// What matters here of `tokenizer_config.json`; `special_tokens_map.json` has the same token fields.
#[derive(Deserialize, Default)]
pub(super) struct TokenizerConfig {
    chat_template: Option<Templates>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

/// A token's text, or an `AddedToken` object.
#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Added { content: String },
}

impl TokenizerConfig {
    /// `file` names the JSON in the error.
    pub(super) fn from_json(file: &'static str, json: &[u8]) -> Result<Self, TextError> {
        serde_json::from_slice(json).map_err(|source| TextError::Json { file, source })
    }

    /// Takes from `other` the tokens that are missing here.
    pub(super) fn or(self, other: TokenizerConfig) -> Self {
        TokenizerConfig {
            chat_template: self.chat_template.or(other.chat_template),
            bos_token: self.bos_token.or(other.bos_token),
            eos_token: self.eos_token.or(other.eos_token),
            unk_token: self.unk_token.or(other.unk_token),
            pad_token: self.pad_token.or(other.pad_token),
        }
    }

    /// Replaces the template.
    pub(super) fn set_template(&mut self, source: String) {
        self.chat_template = Some(Templates::One(source));
    }

    pub(super) fn special_tokens(&self) -> BTreeMap<String, String> {
        let named = [
            ("bos_token", &self.bos_token),
            ("eos_token", &self.eos_token),
            ("unk_token", &self.unk_token),
            ("pad_token", &self.pad_token),
        ];
        let present = named.into_iter().filter_map(|(name, token)| match token.as_ref()? {
            SpecialToken::Text(content) | SpecialToken::Added { content } => Some((name.to_owned(), content.clone())),
        });
        present.collect()
    }

    /// The template of the configuration; of several the one named "default", or the only one.
    pub(super) fn into_template(self) -> Result<ChatTemplate, TextError> {
        let special_tokens = self.special_tokens();
        let source = match self.chat_template {
            None => return Err(TextError::MissingChatTemplate),
            Some(Templates::One(source)) => source,
            Some(Templates::Named(mut named)) => {
                if named.is_empty() {
                    return Err(TextError::MissingChatTemplate);
                }
                let default = named.iter().position(|template| template.name == "default");
                match default.or((named.len() == 1).then_some(0)) {
                    Some(index) => named.swap_remove(index).template,
                    None => {
                        let names = named.into_iter().map(|template| template.name).collect();
                        return Err(TextError::NoDefaultChatTemplate { names });
                    }
                }
            }
        };
        ChatTemplate::new(source, special_tokens)
    }
}

impl ChatTemplate {
    /// Compiles a template. `special_tokens` are the names it may use: `bos_token`, `eos_token`.
    pub fn new(source: String, special_tokens: BTreeMap<String, String>) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        // As transformers sets up Jinja (utils/chat_template_utils.py).
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(TextError::ChatTemplateSyntax)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment
            .add_template_owned(TEMPLATE, source)
            .map_err(TextError::ChatTemplateSyntax)?;
        Ok(ChatTemplate {
            environment,
            special_tokens,
        })
    }

    /// Reads the template of a `tokenizer_config.json`.
    pub fn from_config(tokenizer_config_json: &[u8]) -> Result<Self, TextError> {
        TokenizerConfig::from_json("tokenizer_config.json", tokenizer_config_json)?.into_template()
    }

    /// The prompt's text. `add_generation_prompt` opens the assistant's turn at the end.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        let special_tokens = Value::from(Serde(&self.special_tokens));
        let given = context! { messages => Serde(messages), add_generation_prompt, ..special_tokens };
        let template = self
            .environment
            .get_template(TEMPLATE)
            .map_err(TextError::ChatTemplateRender)?;
        template
            .render(given)
            .map_err(|error| match (refusal(&error), error.detail()) {
                (true, Some(message)) => TextError::ChatTemplateRefusal(message.to_owned()),
                _ => TextError::ChatTemplateRender(error),
            })
    }
}

const TEMPLATE: &str = "chat_template";

/// Marks an error as the template's own `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("raise_exception")]
struct Raised;

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
}

fn refusal(error: &minijinja::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<Raised>())
}

/// The local time in a `strftime` format.
fn strftime_now(format: String) -> Result<String, minijinja::Error> {
    use std::fmt::Write;
    let mut text = String::new();
    write!(text, "{}", chrono::Local::now().format(&format)).map_err(|_| {
        minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now: unknown format {format:?}"),
        )
    })?;
    Ok(text)
}

/// JSON as Python's `json.dumps(value, ensure_ascii=False, indent=indent)` writes it. Jinja's own filter would escape
/// `<`, `>`, `&` and `'` for HTML.
fn tojson(value: Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut json = Vec::new();
    let written = match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, formatter))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, OneLine)),
    };
    let failed = |message: String| minijinja::Error::new(ErrorKind::BadSerialization, message);
    written.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(json)
        .map(Value::from_safe_string)
        .map_err(|error| failed(error.to_string()))
}

/// Python's separators: `", "` and `": "`.
struct OneLine;

impl serde_json::ser::Formatter for OneLine {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        let special_tokens = BTreeMap::from([("bos_token".to_owned(), "<s>".to_owned())]);
        ChatTemplate::new(source.to_owned(), special_tokens).unwrap()
    }

    fn rendered(source: &str) -> String {
        template(source)
            .render(&[Message::new("user", "  a <b>\n")], true)
            .unwrap()
    }

    #[test]
    fn renders_as_transformers_does() {
        assert_eq!(
            rendered("{{ bos_token }}{{ messages[0]['content'] | trim }}{{ eos_token }}"),
            "<s>a <b>"
        );
        // trim_blocks and lstrip_blocks
        assert_eq!(
            rendered("{% for m in messages %}\n  {% if true %}\n  {{ m.role }}\n  {% endif %}\n{% endfor %}\n"),
            "  user\n"
        );
        // Python's methods
        assert_eq!(rendered("{{ messages[0].content.strip().upper() }}"), "A <B>");
        assert_eq!(
            rendered("{% if messages[0].content.strip().startswith('a') %}yes{% endif %}"),
            "yes"
        );
        assert_eq!(
            rendered("{% for k, v in messages[0].items() %}{{ k }},{% endfor %}"),
            "role,content,"
        );
        assert_eq!(rendered("{{ 'x</think>y'.split('</think>')[-1] }}"), "y");
        // loop controls and namespaces
        assert_eq!(
            rendered(
                "{% set n = namespace(x=0) %}{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{% set n.x = n.x + i %}{% endfor %}{{ n.x }}"
            ),
            "3"
        );
    }

    #[test]
    fn json_is_written_as_python_does() {
        assert_eq!(
            rendered("{{ messages | tojson }}"),
            r#"[{"role": "user", "content": "  a <b>\n"}]"#
        );
        assert_eq!(
            rendered("{{ {'é': [1, 2.5, none, true], 'e': []} | tojson(indent=2) }}"),
            "{\n  \"é\": [\n    1,\n    2.5,\n    null,\n    true\n  ],\n  \"e\": []\n}"
        );
    }

    #[test]
    fn the_year_is_a_number() {
        assert!(rendered("{{ strftime_now('%Y') }}").parse::<i32>().unwrap() >= 2025);
        let error = template("{{ strftime_now('%Q') }}").render(&[], false).unwrap_err();
        assert_eq!(error.code(), "ChatTemplateRender");
    }

    #[test]
    fn a_refusal_is_told_from_a_failure() {
        let refused = template("{{ raise_exception('roles must alternate') }}")
            .render(&[], false)
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the chat template refuses these messages: roles must alternate"
        );
        let failed = template("{{ messages[0].content.nonsense() }}").render(&[Message::new("user", "a")], false);
        assert_eq!(failed.unwrap_err().code(), "ChatTemplateRender");
        assert_eq!(
            ChatTemplate::new("{% if %}".into(), BTreeMap::new())
                .err()
                .unwrap()
                .code(),
            "ChatTemplateSyntax"
        );
    }

    #[test]
    fn configurations_in_every_spelling() {
        let render = |config: &str| ChatTemplate::from_config(config.as_bytes())?.render(&[], true);
        let code = |config: &str| render(config).unwrap_err().code();
        assert_eq!(
            render(r#"{"chat_template": "{{ bos_token }}!", "bos_token": "<s>"}"#).unwrap(),
            "<s>!"
        );
        let added = r#"{"chat_template": "{{ bos_token }}!", "bos_token": {"content": "<s>", "special": true}}"#;
        assert_eq!(render(added).unwrap(), "<s>!");
        let named = r#"{"chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]}"#;
        assert_eq!(render(named).unwrap(), "d");
        assert_eq!(
            render(r#"{"chat_template": [{"name": "only", "template": "o"}]}"#).unwrap(),
            "o"
        );
        assert_eq!(
            code(r#"{"chat_template": [{"name": "a", "template": ""}, {"name": "b", "template": ""}]}"#),
            "NoDefaultChatTemplate"
        );
        assert_eq!(code("{}"), "MissingChatTemplate");
        assert_eq!(code(r#"{"chat_template": []}"#), "MissingChatTemplate");
        assert_eq!(code(r#"{"chat_template": 1}"#), "Json");
    }
}
