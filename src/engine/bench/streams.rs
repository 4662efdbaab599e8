//! What benchmark prompts are made of.

use super::Stream;
use crate::{
    Result,
    text::{Message, Text},
};

/// Two streams of ids. "templated" is one short chat, rendered over and over: few different tokens, as in the prompts that
/// benchmarks often have. "realistic" is `prose`, many different ones.
///
/// A model without a tokenizer gets ids instead: 24 of them over and over, and draws from the whole vocabulary in which
/// the i-th id is 1/i times as frequent as the first, as words are in texts.
pub fn streams(text: Option<&Text>, vocab_size: usize, prose: &str) -> Result<Vec<Stream>> {
    let (templated, realistic) = match text {
        Some(text) => {
            let chat = [Message::new("user", "Name one JVM language.")];
            let templated = match &text.template {
                Some(_) => text.encode_chat(&chat, true)?,
                None => text.tokenizer.encode("Name one JVM language.\n", true, false)?,
            };
            (templated, text.tokenizer.encode(prose, true, false)?)
        }
        None => {
            let mut random = fastrand::Rng::with_seed(0);
            let spread = |rank: usize| (rank * 7919 % vocab_size) as u32; // ranks and ids are unrelated
            let draw = |_| spread((vocab_size as f64).powf(random.f64()) as usize);
            ((1..=24).map(spread).collect(), (0..8192).map(draw).collect())
        }
    };
    let stream = |name: &str, ids| Stream { name: name.into(), ids };
    Ok(vec![stream("realistic", realistic), stream("templated", templated)])
}
