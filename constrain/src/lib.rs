//! Constrained decoding: which tokens may come next, if the text is to follow a JSON Schema, a regex or a grammar.
//!
//! llguidance does the work. A [`Compiler`] knows one vocabulary; it compiles a [`Format`] into a [`Constraint`], which is
//! asked for a mask before every token and told which token was chosen.

mod error;
mod vocabulary;
#[cfg(target_arch = "wasm32")]
mod web;

use llguidance::{
    Matcher, ParserFactory,
    api::{GrammarWithLexer, TopLevelGrammar},
};
use serde_json::{Value, json};
use toktrie::InferenceCapabilities;

pub use error::ConstraintError;
pub use vocabulary::Vocabulary;

/// What may stand between the tokens of a JSON text: a space, or a line break and its indentation. Without a bound a model
/// that sees nothing else to say fills its answer with spaces.
const JSON_WHITESPACE: &str = r"\n {0,16}| ";

/// What an answer has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// JSON that is valid under this schema (drafts 4 to 2020-12, references within the schema only). A schema that asks
    /// for what cannot be held to is refused.
    JsonSchema(Value),
    /// A whole match, in the syntax of Rust's `regex`, without look-around.
    Regex(String),
    /// A context-free grammar with the start symbol `start`, in llguidance's variant of Lark.
    Grammar(String),
}

impl Format {
    /// Any JSON object.
    pub fn json_object() -> Format {
        Format::JsonSchema(json!({ "type": "object" }))
    }

    fn grammar(&self) -> Result<TopLevelGrammar, ConstraintError> {
        let grammar = match self {
            Format::JsonSchema(schema) => GrammarWithLexer::from_json_schema(with_whitespace(schema)?),
            Format::Regex(regex) if regex.is_empty() => return Err(ConstraintError::EmptyRegex),
            Format::Regex(regex) => GrammarWithLexer::from_regex(regex),
            Format::Grammar(grammar) => GrammarWithLexer::from_lark(grammar.clone()),
        };
        Ok(TopLevelGrammar::from_grammar(grammar))
    }
}

/// The schema with our whitespace, unless it brings its own `x-guidance`.
fn with_whitespace(schema: &Value) -> Result<Value, ConstraintError> {
    let mut schema = match schema {
        Value::Object(schema) => schema.clone(),
        Value::Bool(true) => Default::default(),
        other => {
            let found = other.to_string();
            return Err(ConstraintError::NoSchema { found });
        }
    };
    schema
        .entry("x-guidance")
        .or_insert_with(|| json!({ "whitespace_pattern": JSON_WHITESPACE }));
    Ok(Value::Object(schema))
}

/// Compiles formats for one vocabulary.
pub struct Compiler {
    factory: ParserFactory,
    /// Logits of the model: at least the tokenizer's tokens.
    logits: usize,
}

impl Compiler {
    /// `logits`: how many the model has. Those beyond the vocabulary are never allowed.
    pub fn new(vocabulary: &Vocabulary, logits: usize) -> Result<Compiler, ConstraintError> {
        let environment = vocabulary.environment()?;
        // Without slices, llguidance's prepared subsets of the vocabulary: for 128,000 tokens they take the module's memory
        // from 33 to 72 MB, and spare 2 ms of a mask inside strings.
        let factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &[]);
        let mut factory = factory.map_err(ConstraintError::compile)?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Compiler { factory, logits })
    }

    pub fn compile(&self, format: &Format) -> Result<Constraint, ConstraintError> {
        let parser = self.factory.create_parser(format.grammar()?);
        let matcher = Matcher::new(parser);
        if let Some(detail) = matcher.get_error() {
            return Err(ConstraintError::Compile { detail });
        }
        let mask = vec![0; self.logits.div_ceil(32)];
        let mut constraint = Constraint { matcher, mask };
        match constraint.mask() {
            Err(ConstraintError::Run { detail }) => Err(ConstraintError::Compile { detail }),
            _ => Ok(constraint),
        }
    }
}

/// One answer as it grows.
pub struct Constraint {
    matcher: Matcher,
    mask: Vec<u32>,
}

impl Constraint {
    /// The tokens that may come next: bit `id % 32` of word `id / 32`. `None`: the answer is whole, and nothing can follow.
    /// Where it may end here or go on, the end tokens are among those allowed.
    pub fn mask(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        if self.is_whole() {
            return Ok(None);
        }
        let allowed = self.matcher.compute_mask().map_err(ConstraintError::run)?;
        let words = allowed.as_slice();
        let words = &words[..words.len().min(self.mask.len())];
        self.mask.fill(0);
        self.mask[..words.len()].copy_from_slice(words);
        Ok(Some(&self.mask))
    }

    /// Takes in the token that was chosen. One that the mask did not allow is an error, and the constraint is done for.
    pub fn accept(&mut self, id: u32) -> Result<(), ConstraintError> {
        self.matcher.consume_token(id).map_err(ConstraintError::run)
    }

    fn is_whole(&self) -> bool {
        self.matcher.is_stopped() && self.matcher.stop_reason().is_ok()
    }
}
