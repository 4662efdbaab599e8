//! The class that the package's worker drives. Calls that wait for the GPU are made one after another: the worker sees
//! to that, and lets generations take turns step by step.

use std::collections::HashMap;

use js_sys::{Array, Float32Array, Function, Object, Reflect, Uint8Array, Uint32Array};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::spawn_local;

use super::{
    FileRepository, HttpRepository, WebError, WebFiles, WebRepository, answer::Answer, js, store::StoredFacts,
};
use crate::{
    ModelConfig, Result,
    checkpoint::{Checkpoint, CheckpointError, read_file, synth},
    config::WeightFormat,
    engine::{Engine, Event, GenerateOptions, Scoring, Session, Steering},
    kernels::{KvFormat, Variant, sample::Sampling},
    model::{ModelOptions, Plan, Remembered, Stage},
    text::{Message, StopStrings, Text},
};

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";

/// Where a checkpoint lies.
#[wasm_bindgen]
pub struct WebCheckpoint(pub(super) WebRepository);

#[wasm_bindgen]
impl WebCheckpoint {
    /// On the web: an [`HttpSource`](super::HttpSource). `on_wait(ms, reason)` is called before a longer wait for the server, and
    /// with 0 after it.
    #[wasm_bindgen(js_name = fromWeb)]
    pub fn from_web(source: JsValue, on_wait: Option<Function>) -> Result<WebCheckpoint, JsValue> {
        let source = parse(source).map_err(js::to_js)?;
        let repository = HttpRepository::new(source, on_wait).map_err(js::to_js)?;
        Ok(WebCheckpoint(WebRepository::Files(WebFiles::Http(repository))))
    }

    /// In `files`, an array of `{ name, file }`.
    #[wasm_bindgen(js_name = fromFiles)]
    pub fn from_files(files: &Array) -> Result<WebCheckpoint, JsValue> {
        let repository = FileRepository::new(files)?;
        Ok(WebCheckpoint(WebRepository::Files(WebFiles::Picked(repository))))
    }

    /// A model of random weights, made on the way: of the shape of that name ("tiny", "S").
    pub fn synthetic(shape: &str) -> Result<WebCheckpoint, JsValue> {
        let repository = match synth::shape(shape) {
            Some(shape) => synth::Synth::new(shape).repository().map_err(js::to_js)?,
            None => {
                let detail = format!("there is no synthetic model `{shape}`");
                return Err(js::to_js(WebError::BadOptions { detail }));
            }
        };
        Ok(WebCheckpoint(WebRepository::Synthetic(repository)))
    }

    /// What the checkpoint takes on a GPU, from its `config.json` alone: `{ weightBytes, scratchBytes, kvBytesPerToken,
    /// contextLength, largestBufferBytes, largestBindingBytes }`.
    pub async fn plan(&self, options: JsValue) -> Result<JsValue, JsValue> {
        let plan = async {
            let options = parse::<LoadRequest>(options)?.options();
            let missing = || CheckpointError::MissingFile { file: CONFIG.into() };
            let config = read_file(&self.0, CONFIG).await?.ok_or_else(missing)?;
            let config = ModelConfig::from_json(&config)?;
            let context_length = options.context_length.unwrap_or(config.max_positions);
            Ok(Plan::new(&config, context_length, options.chunk_tokens, options.kv))
        };
        let plan = plan.await.map_err(|error: crate::Error| js::to_js(error))?;
        Ok(object([
            ("weightBytes", (plan.weight_bytes as f64).into()),
            ("scratchBytes", (plan.scratch_bytes as f64).into()),
            ("kvBytesPerToken", (plan.kv_bytes_per_token as f64).into()),
            ("contextLength", plan.context_length.into()),
            ("largestBufferBytes", (plan.requirements.buffer_bytes as f64).into()),
            ("largestBindingBytes", (plan.requirements.binding_bytes as f64).into()),
        ]))
    }
}

/// A checkpoint on the GPU with its tokenizer.
#[wasm_bindgen]
pub struct WebEngine {
    pub(super) engine: Engine,
    /// `None` if the repository has no `tokenizer.json`: ids in, ids out still work.
    pub(super) text: Option<Text>,
    sessions: HashMap<u32, Session>,
    /// Generations under way.
    answers: HashMap<u32, Answer>,
    scorings: HashMap<u32, Scoring>,
    last_number: u32,
    stored: Option<StoredFacts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LoadRequest {
    context_length: Option<usize>,
    kv: Option<KvFormat>,
    chunk_tokens: Option<usize>,
    variant: Option<Variant>,
    /// JSON that the package kept; what cannot be read is measured anew.
    remembered: Option<String>,
    #[serde(default)]
    low_power: bool,
}

impl LoadRequest {
    fn options(self) -> ModelOptions {
        let defaults = ModelOptions::default();
        ModelOptions {
            context_length: self.context_length,
            kv: self.kv.unwrap_or(defaults.kv),
            chunk_tokens: self.chunk_tokens.unwrap_or(defaults.chunk_tokens),
            low_power: self.low_power,
            variant: self.variant,
            remembered: (self.remembered.as_deref())
                .and_then(Remembered::read)
                .unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GenerateRequest {
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<u32>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    /// The low word, then the high one.
    seed: [u32; 2],
    frequency_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    repetition_penalty: Option<f32>,
    #[serde(default)]
    logit_bias: Vec<(u32, f32)>,
    #[serde(default)]
    masked: bool,
    #[serde(default)]
    stop: Vec<String>,
    top_logprobs: Option<usize>,
    #[serde(default)]
    routing: bool,
}

impl GenerateRequest {
    fn options(&self, stop_token_ids: Vec<u32>) -> GenerateOptions {
        let (sampling, steering) = (Sampling::default(), Steering::default());
        GenerateOptions {
            max_tokens: self.max_tokens.unwrap_or(usize::MAX),
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(sampling.temperature),
                top_k: self.top_k.unwrap_or(sampling.top_k),
                top_p: self.top_p.unwrap_or(sampling.top_p),
                min_p: self.min_p.unwrap_or(sampling.min_p),
                seed: self.seed,
            },
            steering: Steering {
                frequency_penalty: self.frequency_penalty.unwrap_or(steering.frequency_penalty),
                presence_penalty: self.presence_penalty.unwrap_or(steering.presence_penalty),
                repetition_penalty: self.repetition_penalty.unwrap_or(steering.repetition_penalty),
                bias: self.logit_bias.clone(),
                masked: self.masked,
            },
            stop_token_ids,
            top_logprobs: self.top_logprobs,
            routing: self.routing,
            ..Default::default()
        }
    }
}

#[wasm_bindgen]
impl WebEngine {
    /// Puts a checkpoint on the GPU. `progress({ stage, done, total, bytesTotal, quantizes })` follows it; `on_lost(error)` is called
    /// if the device is lost later on.
    pub async fn load(
        checkpoint: WebCheckpoint,
        options: JsValue,
        progress: Function,
        on_lost: Function,
    ) -> Result<WebEngine, JsValue> {
        console_error_panic_hook::set_once();
        let request: LoadRequest = parse(options).map_err(js::to_js)?;
        let engine = Self::open(checkpoint.0, request, &progress).await.map_err(js::to_js)?;
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
        let text = open_text(checkpoint.repository()).await?;
        let (bytes_total, quantizes) = (
            checkpoint.total_bytes(),
            checkpoint.config().weights == WeightFormat::Bf16,
        );
        let mut report = |stage: Stage, done: u64, total: u64| {
            let stage = serde_wasm_bindgen::to_value(&stage).expect("a name");
            let step = object([
                ("stage", stage),
                ("done", (done as f64).into()),
                ("total", (total as f64).into()),
                ("bytesTotal", (bytes_total as f64).into()),
                ("quantizes", quantizes.into()),
            ]);
            let _ = progress.call1(&JsValue::NULL, &step);
        };
        let engine = Engine::load(&checkpoint, &request.options(), &mut report).await?;
        let stored = match checkpoint.repository() {
            WebRepository::Stored(stored) => Some(stored.finish().await?.into()),
            _ => None,
        };
        Ok(WebEngine {
            stored,
            engine,
            text,
            sessions: HashMap::new(),
            answers: HashMap::new(),
            scorings: HashMap::new(),
            last_number: 0,
        })
    }

    /// What was loaded and where it runs.
    pub fn facts(&self) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Facts<'a> {
            #[serde(flatten)]
            engine: crate::engine::EngineFacts,
            heap_bytes: f64,
            stored: Option<&'a StoredFacts>,
        }
        let facts = Facts {
            engine: self.engine.facts(),
            heap_bytes: js::heap_bytes(),
            stored: self.stored.as_ref(),
        };
        js::plain(&facts)
    }

    /// What is known of this adapter now, for the package to keep and give back as `remembered`.
    pub fn remembered(&self) -> String {
        self.engine.remembered().to_text()
    }

    /// CPU memory of this module, in bytes; it never shrinks.
    #[wasm_bindgen(js_name = heapBytes)]
    pub fn heap_bytes(&self) -> f64 {
        js::heap_bytes()
    }

    /// A new, empty conversation: its number.
    #[wasm_bindgen(js_name = createSession)]
    pub async fn create_session(&mut self) -> Result<u32, JsValue> {
        let session = self.engine.session().await.map_err(js::to_js)?;
        Ok(self.keep(session))
    }

    /// A conversation that goes on from where another is: its number.
    #[wasm_bindgen(js_name = forkSession)]
    pub async fn fork_session(&mut self, session: u32) -> Result<u32, JsValue> {
        let fork = async { self.engine.fork(found(self.sessions.get(&session), "session")?).await };
        let fork = fork.await.map_err(js::to_js)?;
        Ok(self.keep(fork))
    }

    /// Frees a conversation's cache.
    #[wasm_bindgen(js_name = freeSession)]
    pub fn free_session(&mut self, session: u32) {
        self.sessions.remove(&session);
    }

    /// How many of `ids` a conversation holds in its cache, from the first on.
    #[wasm_bindgen(js_name = sharedTokens)]
    pub fn shared_tokens(&self, session: u32, ids: &[u32]) -> Result<usize, JsValue> {
        let session = found(self.sessions.get(&session), "session").map_err(js::to_js)?;
        Ok(session
            .tokens()
            .iter()
            .zip(ids)
            .take_while(|(held, wanted)| held == wanted)
            .count())
    }

    /// Begins to continue `ids`, the whole conversation so far: the generation's number. The session is its own until
    /// `end`.
    pub async fn begin(&mut self, session: u32, ids: Vec<u32>, options: JsValue) -> Result<u32, JsValue> {
        let number = self.next_number();
        let begin = async {
            let request: GenerateRequest = parse(options)?;
            let stops = StopStrings::new(request.stop.clone())?;
            let text = match (&self.text, request.stop.is_empty()) {
                (None, false) => Some(self.text()?), // fails: there is nothing to look for stop strings in
                (text, _) => text.as_ref(),
            };
            let detokenizer = text.map(|text| text.tokenizer.detokenizer(true));
            let options = request.options(self.stop_token_ids());
            let of_session = found(self.sessions.get_mut(&session), "session")?;
            let running = self.engine.begin(of_session, &ids, options).await?;
            Ok(Answer::new(running, session, detokenizer, stops))
        };
        let answer = begin.await.map_err(|error: crate::Error| js::to_js(error))?;
        self.answers.insert(number, answer);
        Ok(number)
    }

    /// One step of a generation. `{ done, total }` for a part of the prompt; `{ id, text, ... }` for a token, with its
    /// report; `null` when it is over. `mask` (a bit a token) says what the step may choose, if `masked`.
    pub async fn step(&mut self, generation: u32, mask: Option<Vec<u32>>) -> Result<JsValue, JsValue> {
        let step = async {
            let answer = found(self.answers.get_mut(&generation), "generation")?;
            let session = found(self.sessions.get_mut(&answer.session), "session")?;
            if answer.stopped {
                return Ok(JsValue::NULL);
            }
            if let Some(mask) = mask {
                answer.running.set_mask(&self.engine, &mask)?;
            }
            match self.engine.step(&mut answer.running, session).await? {
                None => Ok(JsValue::NULL),
                Some(Event::Prompt { done, total }) => Ok(object([("done", done.into()), ("total", total.into())])),
                Some(Event::Token(id)) => answer.token(id, self.text.as_ref().map(|text| &text.tokenizer)),
            }
        };
        step.await.map_err(|error: crate::Error| js::to_js(error))
    }

    /// Ends a generation, over or not: what came of it, and in `rest` the text that was still held back.
    pub async fn end(&mut self, generation: u32) -> Result<JsValue, JsValue> {
        let end = async {
            let answer = found(self.answers.remove(&generation), "generation")?;
            let session = found(self.sessions.get_mut(&answer.session), "session")?;
            answer.end(&mut self.engine, session).await
        };
        end.await.map_err(|error: crate::Error| js::to_js(error))
    }

    /// Every token's bytes: `{ bytes, ends, special, endIds }`; token `i` is `bytes[ends[i - 1]..ends[i]]`, `special` has a
    /// byte a token, `endIds` end an answer.
    pub fn vocabulary(&self) -> Result<JsValue, JsValue> {
        let vocabulary = || {
            let tokenizer = &self.text()?.tokenizer;
            let (mut bytes, mut ends, mut special) = (Vec::new(), Vec::new(), Vec::new());
            for id in 0..tokenizer.vocab_size() as u32 {
                bytes.extend_from_slice(tokenizer.bytes(id)?);
                ends.push(bytes.len() as u32);
                special.push(tokenizer.is_special(id).into());
            }
            Ok(object([
                ("bytes", Uint8Array::from(&bytes[..]).into()),
                ("ends", Uint32Array::from(&ends[..]).into()),
                ("special", Uint8Array::from(&special[..]).into()),
                ("endIds", Uint32Array::from(&self.stop_token_ids()[..]).into()),
            ]))
        };
        vocabulary().map_err(|error: crate::Error| js::to_js(error))
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
            Ok(self
                .text()?
                .template()?
                .render(&parse::<Vec<Message>>(messages)?, add_generation_prompt)?)
        };
        render().map_err(|error: crate::Error| js::to_js(error))
    }

    /// The ids of a conversation, with special tokens from the template only.
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

    /// Begins to score a continuation: the scoring's number.
    #[wasm_bindgen(js_name = beginScore)]
    pub async fn begin_score(&mut self, context: Vec<u32>, continuation: Vec<u32>) -> Result<u32, JsValue> {
        let scoring = self.engine.begin_score(&context, &continuation).await;
        let number = self.next_number();
        self.scorings.insert(number, scoring.map_err(js::to_js)?);
        Ok(number)
    }

    /// One chunk more. `null` if there are others, in the end `{ logprobs, isGreedy }`: natural-log probability of each
    /// continuation id.
    #[wasm_bindgen(js_name = scoreChunk)]
    pub async fn score_chunk(&mut self, scoring: u32) -> Result<JsValue, JsValue> {
        let chunk = async {
            let scoring = found(self.scorings.get_mut(&scoring), "scoring")?;
            self.engine.score_chunk(scoring).await
        };
        let Some(score) = chunk.await.map_err(js::to_js)? else {
            return Ok(JsValue::NULL);
        };
        let logprobs = Float32Array::from(&score.logprobs[..]);
        Ok(object([
            ("logprobs", logprobs.into()),
            ("isGreedy", score.is_greedy.into()),
        ]))
    }

    /// Ends a scoring, over or not.
    #[wasm_bindgen(js_name = endScore)]
    pub fn end_score(&mut self, scoring: u32) {
        self.scorings.remove(&scoring);
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

    fn keep(&mut self, session: Session) -> u32 {
        let number = self.next_number();
        self.sessions.insert(number, session);
        number
    }

    fn next_number(&mut self) -> u32 {
        self.last_number += 1;
        self.last_number
    }
}

/// `None` if the repository has no tokenizer.
pub(super) async fn open_text(repository: &WebRepository) -> Result<Option<Text>> {
    match Text::open(repository).await {
        Ok(text) => Ok(Some(text)),
        Err(crate::Error::Checkpoint(CheckpointError::MissingFile { file })) if file == TOKENIZER => Ok(None),
        Err(error) => Err(error),
    }
}

/// A number that the worker gave stands for nothing any more: a session that was disposed of.
fn found<T>(found: Option<T>, what: &'static str) -> Result<T> {
    found.ok_or_else(|| WebError::Disposed { what }.into())
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

pub(super) fn object<const N: usize>(fields: [(&str, JsValue); N]) -> JsValue {
    let out = Object::new().into();
    for (name, value) in fields {
        set(&out, name, &value);
    }
    out
}

pub(super) fn set(object: &JsValue, name: &str, value: &JsValue) {
    Reflect::set(object, &name.into(), value).expect_throw("a plain object takes any field");
}
