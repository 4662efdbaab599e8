//! The two classes that the package's worker drives.

use js_sys::Reflect;
use wasm_bindgen::prelude::*;

use crate::{Compiler, Constraint, ConstraintError, Format, Vocabulary};

/// Compiles formats for one vocabulary.
#[wasm_bindgen(js_name = Compiler)]
pub struct WebCompiler(Compiler);

#[wasm_bindgen(js_class = Compiler)]
impl WebCompiler {
    /// Token `id` is `bytes[ends[id - 1]..ends[id]]`; `special` is 1 for tokens that stand for no text; `end_ids` end an
    /// answer; `logits` is how many the model has.
    #[wasm_bindgen(constructor)]
    pub fn new(
        bytes: Vec<u8>,
        ends: Vec<u32>,
        special: &[u8],
        end_ids: Vec<u32>,
        logits: usize,
    ) -> Result<WebCompiler, JsValue> {
        let vocabulary = Vocabulary {
            bytes,
            ends,
            special: special.iter().map(|flag| *flag != 0).collect(),
            end_ids,
        };
        Compiler::new(&vocabulary, logits).map(WebCompiler).map_err(to_js)
    }

    /// `kind` is "json_object", "json_schema", "regex" or "grammar"; `source` the schema's JSON text, the regex, the grammar.
    pub fn compile(&self, kind: &str, source: String) -> Result<WebConstraint, JsValue> {
        let format = match kind {
            "json_object" => Ok(Format::json_object()),
            "json_schema" => serde_json::from_str(&source)
                .map(Format::JsonSchema)
                .map_err(ConstraintError::SchemaJson),
            "regex" => Ok(Format::Regex(source)),
            "grammar" => Ok(Format::Grammar(source)),
            _ => Err(ConstraintError::Kind { kind: kind.into() }),
        };
        format
            .and_then(|format| self.0.compile(&format))
            .map(WebConstraint)
            .map_err(to_js)
    }
}

/// One answer as it grows.
#[wasm_bindgen(js_name = Constraint)]
pub struct WebConstraint(Constraint);

#[wasm_bindgen(js_class = Constraint)]
impl WebConstraint {
    /// The tokens that may come next: bit `id % 32` of word `id / 32`; `undefined` when the answer is whole.
    pub fn mask(&mut self) -> Result<Option<Vec<u32>>, JsValue> {
        Ok(self.0.mask().map_err(to_js)?.map(<[u32]>::to_vec))
    }

    /// Takes in the token that was chosen.
    pub fn accept(&mut self, id: u32) -> Result<(), JsValue> {
        self.0.accept(id).map_err(to_js)
    }
}

/// An error as a JavaScript `Error` with `.code`.
fn to_js(error: ConstraintError) -> JsValue {
    let out = js_sys::Error::new(&error.to_string());
    Reflect::set(&out, &"code".into(), &error.code().into()).unwrap_throw();
    out.into()
}
