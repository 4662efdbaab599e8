//! What benchmark prompts are made of.

use super::Stream;
use crate::{
    Result,
    text::{Message, Text},
};

const QUESTION: &str = "Name one JVM language.";

/// Two streams of ids. "templated" is one short chat, rendered over and over: few different tokens, as in the prompts that
/// benchmarks often have. "realistic" is `prose`, many different ones.
///
/// Without a tokenizer the chat is 24 ids, over and over. Without tokenizer or prose, "realistic" are draws from the whole
/// vocabulary in which the i-th id is 1/i times as frequent as the first, as words are in texts.
pub fn streams(text: Option<&Text>, vocab_size: usize, prose: Option<&str>) -> Result<Vec<Stream>> {
    let spread = |rank: usize| (rank * 7919 % vocab_size) as u32; // neighbours in rank are none in the vocabulary
    let templated = match text {
        Some(text) => match text.template() {
            Ok(_) => text.encode_chat(&[Message::new("user", QUESTION)], true)?,
            Err(_) => text.tokenizer.encode(QUESTION, true, false)?,
        },
        None => (1..=24).map(spread).collect(),
    };
    let realistic = match (text, prose) {
        (Some(text), Some(prose)) => text.tokenizer.encode(prose, true, false)?,
        _ => {
            let mut random = fastrand::Rng::with_seed(0);
            let draw = |_| spread((vocab_size as f64).powf(random.f64()) as usize);
            (0..8192).map(draw).collect()
        }
    };
    let stream = |name: &str, ids| Stream { name: name.into(), ids };
    Ok(vec![stream("realistic", realistic), stream("templated", templated)])
}
