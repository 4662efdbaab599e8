//! The four stages, and what each reads.

use fastrand::Rng;

use crate::{
    corpus::{self, Split},
    model::Batch,
    vocabulary::{Document, Vocabulary},
};

/// A step of training.
#[derive(Debug)]
pub struct Stage {
    pub name: &'static str,
    /// Longest document, in tokens.
    pub context: usize,
    /// What is read, and how often of the sum.
    mixture: &'static [(Source, u32)],
    /// Learning rate at the begin and at the end, relative to the highest.
    pub rate: (f32, f32),
    /// Compute with INT4 weights and INT8 activations.
    pub quantized: bool,
    /// Part of the whole time.
    pub share: f64,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Story,
    /// Questions and answers as plain text.
    Statements,
    /// Words in any order, and the same words again, which are learned: what finding earlier text is learned from.
    Copy,
    /// Conversations of a few turns; everything is learned.
    Chat,
    /// Conversations up to the whole context; everything is learned.
    LongChat,
    /// Conversations; only the answers are learned.
    Answers,
    LongAnswers,
}

pub const STAGES: [Stage; 4] = [
    Stage {
        name: "pretrain",
        context: 256,
        mixture: &[
            (Source::Story, 30),
            (Source::Statements, 20),
            (Source::Copy, 40),
            (Source::Chat, 40),
        ],
        rate: (1.0, 0.6),
        quantized: false,
        share: 0.41,
    },
    Stage {
        name: "midtrain",
        context: crate::shape::CONTEXT,
        mixture: &[
            (Source::Story, 15),
            (Source::Statements, 15),
            (Source::Chat, 67),
            (Source::LongChat, 3),
        ],
        rate: (0.6, 0.35),
        quantized: false,
        share: 0.19,
    },
    Stage {
        name: "sft",
        context: crate::shape::CONTEXT,
        mixture: &[(Source::Answers, 98), (Source::LongAnswers, 2)],
        rate: (0.35, 0.1),
        quantized: false,
        share: 0.28,
    },
    Stage {
        name: "qat",
        context: crate::shape::CONTEXT,
        mixture: &[(Source::Answers, 98), (Source::LongAnswers, 2)],
        rate: (0.1, 0.0),
        quantized: true,
        share: 0.12,
    },
];

impl Source {
    fn draw(self, random: &mut Rng, vocabulary: &Vocabulary) -> Document {
        let split = Split::Train;
        let long = |random: &mut Rng| {
            let turns = random.usize(8..60);
            corpus::long_conversation(random, split, turns)
        };
        match self {
            Source::Story => vocabulary.document(&corpus::story(random, split)),
            Source::Statements => vocabulary.document(&corpus::statements(random, split)),
            Source::Copy => vocabulary.copy(&corpus::word_list(random)),
            Source::Chat => vocabulary.chat(&corpus::short_conversation(random, split, true), true),
            Source::LongChat => vocabulary.chat(&long(random), true),
            Source::Answers => vocabulary.chat(&corpus::short_conversation(random, split, true), false),
            Source::LongAnswers => vocabulary.chat(&long(random), false),
        }
    }
}

impl Stage {
    /// A batch of exactly `tokens` tokens. The seed decides everything: training resumes by counting steps.
    pub fn batch(&self, vocabulary: &Vocabulary, seed: u64, tokens: usize) -> Batch {
        let mut random = Rng::with_seed(seed);
        let mut batch = Batch::default();
        let total: u32 = self.mixture.iter().map(|(_, weight)| weight).sum();
        while batch.tokens.len() < tokens {
            let mut at = random.u32(..total);
            let drawn = self.mixture.iter().find(|(_, weight)| {
                let here = at < *weight;
                at = at.saturating_sub(*weight);
                here
            });
            let source = drawn.map_or(Source::Story, |(source, _)| *source);
            let document = source.draw(&mut random, vocabulary);
            // One token more than is read: the last is only predicted.
            let len = document
                .ids
                .len()
                .min(self.context + 1)
                .min(tokens - batch.tokens.len() + 1);
            batch.push(&document.ids[..len], &document.learned[..len]);
        }
        batch
    }
}

/// Held-out texts to measure perplexity on: plain stories, plain statements, and answers in conversations.
pub const HELD_OUT: [&str; 3] = ["stories", "statements", "answers"];

/// Batches of held-out texts of one kind, together at least `tokens` tokens.
pub fn held_out(kind: usize, vocabulary: &Vocabulary, tokens: usize) -> Vec<Batch> {
    const BATCH_TOKENS: usize = 2048;
    let mut random = Rng::with_seed(0x4e1d_0007 + kind as u64);
    let mut batches = Vec::new();
    let mut read = 0;
    while read < tokens {
        let mut batch = Batch::default();
        while batch.tokens.len() < BATCH_TOKENS {
            let document = match kind {
                0 => vocabulary.document(&corpus::story(&mut random, Split::HeldOut)),
                1 => vocabulary.document(&corpus::statements(&mut random, Split::HeldOut)),
                _ => vocabulary.chat(&corpus::short_conversation(&mut random, Split::HeldOut, true), false),
            };
            batch.push(&document.ids, &document.learned);
        }
        read += batch.tokens.len();
        batches.push(batch);
    }
    batches
}
