//! A generation under way as the worker sees it: ids becoming the caller's text, and their reports.

use js_sys::{Array, Float32Array, Uint8Array, Uint32Array};
use wasm_bindgen::JsValue;

use super::{
    engine::{object, set},
    js,
};
use crate::{
    Result,
    engine::{Engine, Finish, Report, Running, Session},
    kernels::logprob::Scored,
    text::{Detokenizer, StopStrings, Tokenizer},
};

pub struct Answer {
    pub running: Running,
    /// The number of its session.
    pub session: u32,
    /// `None` without a tokenizer.
    detokenizer: Option<Detokenizer>,
    stops: StopStrings,
    /// A stop string was met.
    pub stopped: bool,
}

impl Answer {
    pub fn new(running: Running, session: u32, detokenizer: Option<Detokenizer>, stops: StopStrings) -> Answer {
        Answer {
            running,
            session,
            detokenizer,
            stops,
            stopped: false,
        }
    }

    /// `{ id, text }`, where `text` became certain with this token and is often empty inside an emoji; and what was to be
    /// reported: `bytes`, `logprob`, `top` (`{ id, bytes, logprob }` each), `experts` and `weights` `[MoE layers, k]`.
    pub fn token(&mut self, id: u32, tokenizer: Option<&Tokenizer>) -> Result<JsValue> {
        let piece = match &mut self.detokenizer {
            Some(detokenizer) => detokenizer.push(id)?,
            None => String::new(),
        };
        let token = object([("id", id.into()), ("text", self.give(piece).into())]);
        let Report {
            chosen,
            likeliest,
            choices,
        } = self.running.report();
        if let Some(Scored { logprob, .. }) = chosen {
            set(&token, "bytes", &bytes(id, tokenizer)?);
            set(&token, "logprob", &(*logprob).into());
            let top = Array::new();
            for Scored { id, logprob } in likeliest {
                let bytes = bytes(*id, tokenizer)?;
                top.push(&object([
                    ("id", (*id).into()),
                    ("bytes", bytes),
                    ("logprob", (*logprob).into()),
                ]));
            }
            set(&token, "top", &top);
        }
        if !choices.is_empty() {
            let experts: Vec<u32> = choices.iter().map(|choice| choice.expert).collect();
            let weights: Vec<f32> = choices.iter().map(|choice| choice.weight).collect();
            set(&token, "experts", &Uint32Array::from(&experts[..]));
            set(&token, "weights", &Float32Array::from(&weights[..]));
        }
        Ok(token)
    }

    /// What came of it. `rest`: text that was held back for a character or a stop string that never became whole.
    pub async fn end(mut self, engine: &mut Engine, session: &mut Session) -> Result<JsValue> {
        let rest = match self.detokenizer.take() {
            Some(mut detokenizer) if !self.stopped => self.give(detokenizer.flush()) + &self.stops.flush(),
            _ => String::new(),
        };
        let generation = engine.end(self.running, session).await?;
        let steps = generation.tokens.len().saturating_sub(1) as f64;
        let rate = if steps > 0.0 && generation.decode_ms > 0.0 {
            steps * 1e3 / generation.decode_ms
        } else {
            0.0
        };
        let finish = match generation.finish {
            _ if self.stopped => "stop_string",
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Aborted => "abort",
        };
        Ok(object([
            ("rest", rest.into()),
            ("finishReason", finish.into()),
            ("tokens", Uint32Array::from(&generation.tokens[..]).into()),
            ("promptTokens", generation.prompt_tokens.into()),
            ("cachedTokens", generation.reused_tokens.into()),
            ("prefillMs", generation.prefill_ms.into()),
            ("decodeMs", generation.decode_ms.into()),
            ("tokensPerSecond", rate.into()),
            ("kvBytes", (session.bytes() as f64).into()),
            ("heapBytes", js::heap_bytes().into()),
        ]))
    }

    /// What of `text` can be given out.
    fn give(&mut self, text: String) -> String {
        let step = self.stops.push(&text);
        self.stopped = step.stopped.is_some();
        step.text
    }
}

/// What a token stands for; `undefined` without a tokenizer, and for ids beyond its vocabulary.
fn bytes(id: u32, tokenizer: Option<&Tokenizer>) -> Result<JsValue> {
    let bytes = tokenizer.and_then(|tokenizer| tokenizer.bytes(id).ok());
    Ok(bytes.map_or(JsValue::UNDEFINED, |bytes| Uint8Array::from(bytes).into()))
}
