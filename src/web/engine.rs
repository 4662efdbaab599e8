//! The class that the package's worker drives. One call at a time: the worker queues.

use std::ops::ControlFlow;

use js_sys::{Array, Float32Array, Function, Math, Object, Reflect, Uint32Array};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::{FileRepository, HttpRepository, WebError, WebRepository, js};
use crate::{
    Result,
    checkpoint::{Checkpoint, CheckpointError, synth},
    engine::{Engine, Event, Finish, GenerateOptions, Generation, Session},
    kernels::{KvFormat, sample::Sampling},
    model::ModelOptions,
    text::{Detokenizer, Message, StopStrings, Text},
};

/// Tokens an answer may have when the caller sets no limit.
const DEFAULT_MAX_TOKENS: usize = 512;
const TOKENIZER: &str = "tokenizer.json";

/// A checkpoint on the GPU with its tokenizer.
#[wasm_bindgen]
pub struct WebEngine {
    pub(super) engine: Engine,
    /// `None` if the repository has no `tokenizer.json`: ids in, ids out still work.
    pub(super) text: Option<Text>,
    /// The conversation whose keys and values the cache holds.
    pub(super) session: Option<Session>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoadRequest {
    context_length: Option<usize>,
    kv: Option<KvFormat>,
    chunk_tokens: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GenerateRequest {
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    seed: Option<u32>,
    #[serde(default)]
    stop: Vec<String>,
}

#[wasm_bindgen]
impl WebEngine {
    /// Loads from the web: an [`HttpSource`](super::HttpSource). `progress(bytesDone, bytesTotal)` follows the weights;
    /// `on_lost(error)` is called if the device is lost later on.
    #[wasm_bindgen(js_name = loadUrl)]
    pub async fn load_url(
        source: JsValue,
        options: JsValue,
        progress: Function,
        on_lost: Function,
    ) -> Result<WebEngine, JsValue> {
        let repository = HttpRepository::new(parse(source).map_err(js::to_js)?).map_err(js::to_js)?;
        Self::load(WebRepository::Http(repository), options, progress, on_lost).await
    }

    /// Loads from `files`, an array of `{ name, file }`.
    #[wasm_bindgen(js_name = loadFiles)]
    pub async fn load_files(
        files: Array,
        options: JsValue,
        progress: Function,
        on_lost: Function,
    ) -> Result<WebEngine, JsValue> {
        let repository = FileRepository::new(&files)?;
        Self::load(WebRepository::Files(repository), options, progress, on_lost).await
    }

    /// Loads a model of random weights, made on the way: of the shape of that name ("tiny", "S").
    #[wasm_bindgen(js_name = loadSynthetic)]
    pub async fn load_synthetic(
        shape: String,
        options: JsValue,
        progress: Function,
        on_lost: Function,
    ) -> Result<WebEngine, JsValue> {
        let repository = match synth::shape(&shape) {
            Some(shape) => synth::Synth::new(shape).repository().map_err(js::to_js)?,
            None => {
                let detail = format!("there is no synthetic model `{shape}`");
                return Err(js::to_js(WebError::BadOptions { detail }));
            }
        };
        Self::load(WebRepository::Synthetic(repository), options, progress, on_lost).await
    }

    async fn load(
        repository: WebRepository,
        options: JsValue,
        progress: Function,
        on_lost: Function,
    ) -> Result<WebEngine, JsValue> {
        console_error_panic_hook::set_once();
        let request: LoadRequest = parse(options).map_err(js::to_js)?;
        let engine = Self::open(repository, request, &progress).await.map_err(js::to_js)?;
        let lost = engine.engine.lost();
        spawn_local(async move {
            if let Some(error) = lost.await {
                let _ = on_lost.call1(&JsValue::NULL, &js::to_js(error));
            }
        });
        Ok(engine)
    }

    async fn open(repository: WebRepository, request: LoadRequest, progress: &Function) -> Result<WebEngine> {
        check_webgpu()?;
        let checkpoint = Checkpoint::open(repository).await?;
        let text = match Text::open(checkpoint.repository()).await {
            Ok(text) => Some(text),
            Err(crate::Error::Checkpoint(CheckpointError::MissingFile { file })) if file == TOKENIZER => None,
            Err(error) => return Err(error),
        };
        let defaults = ModelOptions::default();
        let options = ModelOptions {
            context_length: request.context_length,
            kv: request.kv.unwrap_or(defaults.kv),
            chunk_tokens: request.chunk_tokens.unwrap_or(defaults.chunk_tokens),
        };
        let mut report = |bytes_done: u64, bytes_total: u64| {
            let _ = progress.call2(
                &JsValue::NULL,
                &(bytes_done as f64).into(),
                &(bytes_total as f64).into(),
            );
        };
        let engine = Engine::load(&checkpoint, &options, &mut report).await?;
        Ok(WebEngine {
            engine,
            text,
            session: None,
        })
    }

    /// What was loaded and where it runs.
    pub fn facts(&self) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Facts {
            #[serde(flatten)]
            engine: crate::engine::EngineFacts,
            heap_bytes: u32,
        }
        let memory: js_sys::WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
        let heap_bytes = memory.buffer().unchecked_into::<js_sys::ArrayBuffer>().byte_length();
        let facts = Facts {
            engine: self.engine.facts(),
            heap_bytes,
        };
        facts
            .serialize(&serde_wasm_bindgen::Serializer::json_compatible())
            .map_err(JsValue::from)
    }

    /// Answers a conversation. `on_piece(text)` gets each piece, or nothing for a token that completes no text; the
    /// generation ends when it returns false.
    pub async fn chat(&mut self, messages: JsValue, options: JsValue, on_piece: Function) -> Result<JsValue, JsValue> {
        let ids = self.chat_ids(messages, true).map_err(js::to_js)?;
        self.generate_text(&ids, options, &on_piece).await.map_err(js::to_js)
    }

    /// Continues a text; otherwise as `chat`.
    pub async fn complete(&mut self, prompt: String, options: JsValue, on_piece: Function) -> Result<JsValue, JsValue> {
        let ids = self.ids(&prompt, true, false).map_err(js::to_js)?;
        self.generate_text(&ids, options, &on_piece).await.map_err(js::to_js)
    }

    /// Continues ids. `on_token(id)` gets each id; the generation ends when it returns false.
    #[wasm_bindgen(js_name = generateTokens)]
    pub async fn generate_tokens(
        &mut self,
        ids: Vec<u32>,
        options: JsValue,
        on_token: Function,
    ) -> Result<JsValue, JsValue> {
        let generate = async {
            let request: GenerateRequest = parse(options)?;
            let stop_token_ids = self.stop_token_ids();
            let on_event = |event| {
                Ok(match event {
                    Event::Prompt { .. } => goes_on(&on_token, &JsValue::UNDEFINED),
                    Event::Token(id) => goes_on(&on_token, &id.into()),
                })
            };
            self.generate(&ids, &request, stop_token_ids, on_event).await
        };
        generate.await.map_err(js::to_js)
    }

    /// Ids of a text. `parse_special`: a special token spelled in it becomes its id.
    pub fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>, JsValue> {
        self.ids(text, add_special, parse_special).map_err(js::to_js)
    }

    /// Text of ids.
    pub fn detokenize(&self, ids: &[u32], skip_special: bool) -> Result<String, JsValue> {
        let decode = || Ok(self.text()?.tokenizer.decode(ids, skip_special)?);
        decode().map_err(|error: crate::Error| js::to_js(error))
    }

    /// The text of a conversation, as the checkpoint's template renders it.
    #[wasm_bindgen(js_name = applyChatTemplate)]
    pub fn apply_chat_template(&self, messages: JsValue, add_generation_prompt: bool) -> Result<String, JsValue> {
        let render = || {
            let template = self
                .text()?
                .template
                .as_ref()
                .ok_or(crate::text::TextError::MissingChatTemplate)?;
            Ok(template.render(&parse::<Vec<Message>>(messages)?, add_generation_prompt)?)
        };
        render().map_err(|error: crate::Error| js::to_js(error))
    }

    /// The ids of a conversation: what `chat` feeds the model.
    #[wasm_bindgen(js_name = tokenizeChat)]
    pub fn tokenize_chat(&self, messages: JsValue, add_generation_prompt: bool) -> Result<Vec<u32>, JsValue> {
        self.chat_ids(messages, add_generation_prompt).map_err(js::to_js)
    }

    /// `{ logits, experts, weights, vocabSize }`: logits `[positions, vocab]`, routing `[layers, ids, k]`.
    pub async fn logits(&mut self, ids: Vec<u32>, all_positions: bool) -> Result<JsValue, JsValue> {
        let trace = self.engine.logits(&ids, all_positions).await.map_err(js::to_js)?;
        Ok(object([
            ("logits", Float32Array::from(&trace.logits[..]).into()),
            ("experts", Uint32Array::from(&trace.experts.concat()[..]).into()),
            ("weights", Float32Array::from(&trace.weights.concat()[..]).into()),
            ("vocabSize", self.engine.config().vocab_size.into()),
        ]))
    }

    /// `{ logprobs, isGreedy }`: natural-log probability of each continuation id.
    pub async fn score(&mut self, context: Vec<u32>, continuation: Vec<u32>) -> Result<JsValue, JsValue> {
        let score = self.engine.score(&context, &continuation).await.map_err(js::to_js)?;
        let logprobs = Float32Array::from(&score.logprobs[..]);
        Ok(object([
            ("logprobs", logprobs.into()),
            ("isGreedy", score.is_greedy.into()),
        ]))
    }

    fn text(&self) -> Result<&Text> {
        self.text
            .as_ref()
            .ok_or_else(|| CheckpointError::MissingFile { file: TOKENIZER.into() }.into())
    }

    fn ids(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        Ok(self.text()?.tokenizer.encode(text, add_special, parse_special)?)
    }

    fn chat_ids(&self, messages: JsValue, add_generation_prompt: bool) -> Result<Vec<u32>> {
        Ok(self
            .text()?
            .encode_chat(&parse::<Vec<Message>>(messages)?, add_generation_prompt)?)
    }

    fn stop_token_ids(&self) -> Vec<u32> {
        match &self.text {
            Some(text) => text.stop_token_ids.clone(),
            None => self.engine.config().eos_token_ids.clone(),
        }
    }

    async fn generate_text(&mut self, ids: &[u32], options: JsValue, on_piece: &Function) -> Result<JsValue> {
        let mut request: GenerateRequest = parse(options)?;
        let text = self.text()?;
        let mut answer = Answer {
            detokenizer: text.tokenizer.detokenizer(true),
            stops: StopStrings::new(std::mem::take(&mut request.stop))?,
            text: String::new(),
            stopped: false,
            on_piece,
        };
        let stop_token_ids = self.stop_token_ids();
        let on_event = |event| match event {
            Event::Prompt { .. } => Ok(goes_on(on_piece, &JsValue::UNDEFINED)),
            Event::Token(id) => answer.push(id),
        };
        let generation = self.generate(ids, &request, stop_token_ids, on_event).await?;
        answer.flush();
        if answer.stopped {
            set(&generation, "finishReason", &"stop_string".into());
        }
        set(&generation, "text", &answer.text.into());
        Ok(generation)
    }

    /// Continues `ids`; `on_event` tells whether to go on.
    async fn generate(
        &mut self,
        ids: &[u32],
        request: &GenerateRequest,
        stop_token_ids: Vec<u32>,
        mut on_event: impl FnMut(Event) -> Result<bool>,
    ) -> Result<JsValue> {
        let began_ms = js::now_ms();
        let seed = request.seed.unwrap_or_else(|| (Math::random() * 2f64.powi(32)) as u32);
        let options = GenerateOptions {
            max_tokens: request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
            sampling: Sampling {
                temperature: request.temperature.unwrap_or(0.0),
                top_k: request.top_k.unwrap_or(0),
                top_p: request.top_p.unwrap_or(1.0),
                min_p: request.min_p.unwrap_or(0.0),
                seed: [seed, 0],
            },
            stop_token_ids,
            ..Default::default()
        };
        if self.session.is_none() {
            self.session = Some(self.engine.session().await?);
        }
        let session = self.session.as_mut().expect("made above");
        if !on_event(Event::Prompt {
            done: 0,
            total: ids.len(),
        })? {
            return Ok(to_js(&never_begun(ids.len()), seed, None));
        }
        let (mut first_token_ms, mut failed) = (None, None);
        let mut watch = |event: Event| {
            if matches!(event, Event::Token(_)) {
                first_token_ms.get_or_insert_with(|| js::now_ms() - began_ms);
            }
            match on_event(event) {
                Ok(true) => ControlFlow::Continue(()),
                Ok(false) => ControlFlow::Break(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let generation = self.engine.generate(session, ids, &options, &mut watch).await?;
        match failed {
            Some(error) => Err(error),
            None => Ok(to_js(&generation, seed, first_token_ms)),
        }
    }
}

/// Ids becoming the caller's text.
struct Answer<'a> {
    detokenizer: Detokenizer,
    stops: StopStrings,
    text: String,
    /// A stop string was met.
    stopped: bool,
    on_piece: &'a Function,
}

impl Answer<'_> {
    fn push(&mut self, id: u32) -> Result<bool> {
        let piece = self.detokenizer.push(id)?;
        Ok(self.give(&piece))
    }

    /// What was held back for a character or a stop string that never became whole.
    fn flush(&mut self) {
        if self.stopped {
            return;
        }
        let rest = self.detokenizer.flush();
        self.give(&rest);
        let held = self.stops.flush();
        self.emit(&held);
    }

    fn give(&mut self, piece: &str) -> bool {
        let step = self.stops.push(piece);
        self.stopped = step.stopped.is_some();
        self.emit(&step.text) && !self.stopped
    }

    fn emit(&mut self, text: &str) -> bool {
        self.text += text;
        goes_on(
            self.on_piece,
            &if text.is_empty() {
                JsValue::UNDEFINED
            } else {
                text.into()
            },
        )
    }
}

/// Whether the caller wants more; one that throws does not.
fn goes_on(callback: &Function, piece: &JsValue) -> bool {
    callback
        .call1(&JsValue::NULL, piece)
        .is_ok_and(|answer| answer.is_truthy())
}

/// A generation that was aborted while it waited its turn.
fn never_begun(prompt_tokens: usize) -> Generation {
    Generation {
        tokens: Vec::new(),
        finish: Finish::Aborted,
        prompt_tokens,
        reused_tokens: 0,
        prefill_ms: 0.0,
        decode_ms: 0.0,
    }
}

fn to_js(generation: &Generation, seed: u32, first_token_ms: Option<f64>) -> JsValue {
    let steps = generation.tokens.len().saturating_sub(1) as f64;
    let rate = if steps > 0.0 && generation.decode_ms > 0.0 {
        steps * 1e3 / generation.decode_ms
    } else {
        0.0
    };
    let finish = match generation.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Aborted => "abort",
    };
    object([
        ("finishReason", finish.into()),
        ("tokens", Uint32Array::from(&generation.tokens[..]).into()),
        ("promptTokens", generation.prompt_tokens.into()),
        ("cachedTokens", generation.reused_tokens.into()),
        ("seed", seed.into()),
        ("firstTokenMs", first_token_ms.into()),
        ("prefillMs", generation.prefill_ms.into()),
        ("decodeMs", generation.decode_ms.into()),
        ("tokensPerSecond", rate.into()),
    ])
}

/// Says in the browser's terms why there is no WebGPU; whether there is an adapter, the engine finds out.
fn check_webgpu() -> Result<(), WebError> {
    let gpu = Reflect::get(&js::worker().navigator(), &"gpu".into()).unwrap_or(JsValue::UNDEFINED);
    let detail = match (gpu.is_undefined(), js::worker().is_secure_context()) {
        (false, _) => return Ok(()),
        (true, false) => "WebGPU is offered to secure pages only: open this page over https or from localhost",
        (true, true) => {
            "this browser has no WebGPU in workers: use Chrome or Edge 121, Safari 26, Firefox 141 or newer, and look \
             whether hardware acceleration is switched off"
        }
    };
    Err(WebError::NoWebGpu { detail })
}

pub(super) fn parse<T: DeserializeOwned>(value: JsValue) -> Result<T> {
    serde_wasm_bindgen::from_value(value).map_err(|error| {
        WebError::BadOptions {
            detail: error.to_string(),
        }
        .into()
    })
}

fn object<const N: usize>(fields: [(&str, JsValue); N]) -> JsValue {
    let out = Object::new().into();
    for (name, value) in fields {
        set(&out, name, &value);
    }
    out
}

fn set(object: &JsValue, name: &str, value: &JsValue) {
    Reflect::set(object, &name.into(), value).expect_throw("a plain object takes any field");
}
