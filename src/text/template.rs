//! Chat templates: messages -> the prompt's text, exactly as transformers' `apply_chat_template` renders it.

use std::collections::BTreeMap;

use minijinja::{
    Environment, ErrorKind, Value, context,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde, ValueKind},
};
use serde::{Deserialize, Serialize};

use super::{TextError, python_json::PythonJson};
use crate::json::{self, Imposter};

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
        json::from_slice(json).map_err(|source| TextError::Json { file, source })
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

    pub(super) fn has_template(&self) -> bool {
        self.chat_template.is_some()
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
            .add_template_owned(TEMPLATE, as_jinja(&source))
            .map_err(TextError::ChatTemplateSyntax)?;
        Ok(ChatTemplate {
            environment,
            special_tokens,
        })
    }

    /// A template that is no template: the page that a server shows for a missing file, a pointer of Git LFS.
    pub(super) fn check_source(file: &'static str, source: &[u8]) -> Result<(), TextError> {
        match Imposter::of(source) {
            Some(imposter) => Err(TextError::NoTemplate { file, imposter }),
            None => Ok(()),
        }
    }

    /// Reads the template of a `tokenizer_config.json`.
    pub fn from_config(tokenizer_config_json: &[u8]) -> Result<Self, TextError> {
        TokenizerConfig::from_json("tokenizer_config.json", tokenizer_config_json)?.into_template()
    }

    /// The prompt's text. `add_generation_prompt` opens the assistant's turn at the end.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        let special_tokens = Value::from(Serde(&self.special_tokens));
        // What transformers passes where the caller has none of it: none, not undefined.
        let (tools, documents) = ((), ());
        let given = context! { messages => Serde(messages), add_generation_prompt, tools, documents, ..special_tokens };
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

/// `json.dumps` with the arguments that transformers' own `tojson` takes. Jinja's filter would escape `<`, `>`, `&` and `'`
/// for HTML.
fn tojson(value: Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let failed = |message: String| minijinja::Error::new(ErrorKind::BadSerialization, message);
    let indent = match options.get::<Option<Value>>("indent")? {
        None => None,
        Some(indent) => match (indent.as_str(), usize::try_from(indent.clone())) {
            (Some(indent), _) => Some(indent.to_owned()),
            (None, Ok(spaces)) => Some(" ".repeat(spaces.min(MAX_INDENT))),
            _ => {
                return Err(failed(format!(
                    "tojson: indent is {indent}; expected a number of spaces, or a string"
                )));
            }
        },
    };
    let separators = match options.get::<Option<Vec<String>>>("separators")? {
        None => None,
        Some(separators) => match <[String; 2]>::try_from(separators) {
            Ok([item, key]) => Some((item, key)),
            Err(_) => return Err(failed("tojson: expected two separators".into())),
        },
    };
    let ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;

    let mut json = Vec::new();
    let formatter = PythonJson::new(indent, separators, ensure_ascii);
    let mut serializer = serde_json::Serializer::with_formatter(&mut json, formatter);
    let written = if sort_keys {
        Sorted(&value).serialize(&mut serializer)
    } else {
        value.serialize(&mut serializer)
    };
    written.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(json)
        .map(Value::from_safe_string)
        .map_err(|error| failed(error.to_string()))
}

/// As much as a template needs; without a bound, one could fill the memory.
const MAX_INDENT: usize = 16;

/// A value whose maps are written in the order of their keys.
struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = || self.0.try_iter().into_iter().flatten();
        match self.0.kind() {
            ValueKind::Map => {
                let mut entries: Vec<(String, Value)> = values()
                    .filter_map(|key| Some((key.to_string(), self.0.get_item(&key).ok()?)))
                    .collect();
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                serializer.collect_map(entries.iter().map(|(key, value)| (key, Sorted(value))))
            }
            ValueKind::Seq => {
                let values: Vec<Value> = values().collect();
                serializer.collect_seq(values.iter().map(Sorted))
            }
            _ => self.0.serialize(serializer),
        }
    }
}

/// The template as Jinja would have it, where minijinja differs: Jinja turns `\r\n` and `\r` into `\n`. And transformers
/// knows `{% generation %}`, which marks the assistant's words for training and renders what it encloses.
fn as_jinja(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(end) = rest.find("%}") {
        let (upto, after) = rest.split_at(end + 2);
        rest = after;
        let Some(begin) = upto.rfind("{%").filter(|begin| begin + 2 <= end) else {
            out += upto;
            continue;
        };
        let (before, tag) = upto.split_at(begin);
        out += before;
        let inside = &tag[2..tag.len() - 2];
        let word = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        out += &match word {
            "generation" => format!("{{%{}%}}", inside.replace(word, "if true")),
            "endgeneration" => format!("{{%{}%}}", inside.replace(word, "endif")),
            _ => tag.to_owned(),
        };
    }
    out + rest
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
    fn json_takes_python_s_arguments() {
        let value = "{'b': 1e-7, 'a': [{'z': 1, 'y': 'é😀'}], 'c': {}}";
        assert_eq!(
            rendered(&format!(
                "{{{{ {value} | tojson(sort_keys=true, ensure_ascii=true) }}}}"
            )),
            r#"{"a": [{"y": "\u00e9\ud83d\ude00", "z": 1}], "b": 1e-07, "c": {}}"#
        );
        assert_eq!(
            rendered(&format!("{{{{ {value} | tojson(separators=(',', ':')) }}}}")),
            r#"{"b":1e-07,"a":[{"z":1,"y":"é😀"}],"c":{}}"#
        );
        assert_eq!(
            rendered("{{ {'a': [1, []]} | tojson(indent='-', separators=(' ,', ' : ')) }}"),
            "{\n-\"a\" : [\n--1 ,\n--[]\n-]\n}"
        );
        let wrong = template("{{ 1 | tojson(separators=(',',)) }}").render(&[], false);
        assert_eq!(wrong.unwrap_err().code(), "ChatTemplateRender");
    }

    #[test]
    fn line_ends_are_unix_s() {
        assert_eq!(rendered("a\r\n{% if true %}\r\nb\r{% endif %}\r\n"), "a\nb\n");
        // In what the messages say they stay.
        let said = template("{{ messages[0].content }}").render(&[Message::new("user", "a\r\nb")], false);
        assert_eq!(said.unwrap(), "a\r\nb");
    }

    #[test]
    fn generation_marks_nothing() {
        let source = "{{ '{%' }}{% for m in messages %}{{ m.role }}: {%- generation -%} {{ m.role }}!\n{% endgeneration %}{% endfor %}{{ '{%' }}";
        assert_eq!(rendered(source), "{%user:user!\n{%");
        let error = ChatTemplate::new("{% generation %}".into(), BTreeMap::new())
            .err()
            .unwrap();
        assert_eq!(error.code(), "ChatTemplateSyntax");
    }

    #[test]
    fn what_is_not_given_is_none() {
        assert_eq!(
            rendered("{{ tools is none }} {{ tools is defined }} {{ documents is none }} {{ nothing is defined }}"),
            "True True True False"
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
