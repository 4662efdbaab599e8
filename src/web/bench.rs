//! The benchmark, for pages.

use std::ops::ControlFlow;

use js_sys::Function;
use serde::{Deserialize, Serialize};
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;

use super::{WebEngine, engine::parse, js};
use crate::{
    Result,
    engine::bench::{BenchOptions, BenchProgress, BenchReport, Fill, streams},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BenchRequest {
    prompts: Option<Vec<usize>>,
    contexts: Option<Vec<usize>>,
    streams: Option<Vec<String>>,
    prose: Option<String>,
    fill: Option<Fill>,
    repeats: Option<usize>,
    tokens: Option<usize>,
    budget_ms: Option<f64>,
    profile: Option<bool>,
}

#[wasm_bindgen]
impl WebEngine {
    /// Measures how fast the model runs here. `on_progress({ now, done, total })` hears of each run; the benchmark ends with
    /// what there is when it returns false.
    pub async fn benchmark(&mut self, options: JsValue, on_progress: Function) -> Result<JsValue, JsValue> {
        let report = self.measure(options, &on_progress).await.map_err(js::to_js)?;
        Ok(report.serialize(&Serializer::json_compatible())?)
    }

    async fn measure(&mut self, options: JsValue, on_progress: &Function) -> Result<BenchReport> {
        let request: BenchRequest = parse(options)?;
        let vocab_size = self.engine.config().vocab_size;
        let mut streams = streams(self.text.as_ref(), vocab_size, request.prose.as_deref())?;
        if let Some(names) = &request.streams {
            streams.retain(|stream| names.contains(&stream.name));
        }
        let defaults = BenchOptions::default();
        let options = BenchOptions {
            prompts: request.prompts.unwrap_or(defaults.prompts),
            contexts: request.contexts.unwrap_or(defaults.contexts),
            streams,
            fill: request.fill.unwrap_or(defaults.fill),
            repeats: request.repeats.unwrap_or(defaults.repeats),
            tokens: request.tokens.unwrap_or(defaults.tokens),
            budget_ms: request.budget_ms.unwrap_or(defaults.budget_ms),
            profile: request.profile.unwrap_or(defaults.profile),
        };
        let mut report = |progress: &BenchProgress| {
            let progress = progress.serialize(&Serializer::json_compatible());
            let more = progress.map(|progress| on_progress.call1(&JsValue::NULL, &progress));
            match more {
                Ok(Ok(more)) if more.is_truthy() => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        self.engine.bench(&options, &mut report).await
    }
}
