//! Small bridges to JavaScript: errors, time, sleeping, promises that may hang.

use js_sys::{Function, Promise, Reflect};
use serde::Serialize;
use wasm_bindgen::{JsCast, JsValue, UnwrapThrowExt};
use wasm_bindgen_futures::JsFuture;
use web_sys::WorkerGlobalScope;

/// A crate error as a JavaScript `Error` with `.code`.
pub fn to_js(error: impl Into<crate::Error>) -> JsValue {
    let error = error.into();
    let out = js_sys::Error::new(&error.to_string());
    Reflect::set(&out, &"code".into(), &error.code().into()).unwrap_throw();
    out.into()
}

/// What a thrown value says of itself.
pub fn message(thrown: &JsValue) -> String {
    match thrown.dyn_ref::<js_sys::Error>() {
        Some(error) => error.message().into(),
        None => thrown.as_string().unwrap_or_else(|| format!("{thrown:?}")),
    }
}

/// Calls `callback(done, total)`.
pub fn progress(callback: &Function) -> impl FnMut(u64, u64) {
    |done, total| {
        let _ = callback.call2(&JsValue::NULL, &(done as f64).into(), &(total as f64).into());
    }
}

/// Data as a plain JavaScript object.
pub fn plain(data: &impl Serialize) -> Result<JsValue, JsValue> {
    Ok(data.serialize(&serde_wasm_bindgen::Serializer::json_compatible())?)
}

/// The text of an answer.
pub async fn text(response: &web_sys::Response) -> Result<String, JsValue> {
    let text = JsFuture::from(response.text()?).await?;
    Ok(text.as_string().unwrap_or_default())
}

/// CPU memory of this module, in bytes; it never shrinks.
pub fn heap_bytes() -> f64 {
    let memory: js_sys::WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    memory
        .buffer()
        .unchecked_into::<js_sys::ArrayBuffer>()
        .byte_length()
        .into()
}

/// The worker that the engine runs in.
pub fn worker() -> WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Resolves after `ms`.
pub async fn sleep_ms(ms: i32) {
    let timer = Promise::new(&mut |resolve, _| {
        worker()
            .set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, ms)
            .unwrap_throw();
    });
    JsFuture::from(timer).await.unwrap_throw();
}

/// The promise's outcome, or `None` if it has none after `timeout_ms`.
pub async fn settle_within(promise: Promise, timeout_ms: i32) -> Option<Result<JsValue, JsValue>> {
    let late = JsValue::from(js_sys::Symbol::for_("mobilemoe.timeout"));
    let mut timer_id = 0;
    let timer = Promise::new(&mut |resolve, _| {
        timer_id = worker()
            .set_timeout_with_callback_and_timeout_and_arguments_1(&resolve, timeout_ms, &late)
            .unwrap_throw();
    });
    let outcome = JsFuture::from(Promise::race(&js_sys::Array::of2(&promise, &timer))).await;
    worker().clear_timeout_with_handle(timer_id);
    match outcome {
        Ok(value) if value == late => None,
        settled => Some(settled),
    }
}
