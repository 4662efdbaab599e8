//! What a finished checkpoint can do, through the engine: perplexity on the GPU and the CPU, use of the experts, the quiz,
//! samples.

use std::{collections::HashSet, fmt::Write, ops::ControlFlow, path::Path};

use anyhow::Result;
use fastrand::Rng;
use mobilemoe_web::{
    checkpoint::{Checkpoint, DirectoryRepository},
    engine::{Engine, Finish, GenerateOptions},
    kernels::{Choice, KvFormat, sample::Sampling},
    model::{ModelOptions, Reference, ReferenceCache, Trace},
    text::Text,
};
use pollster::block_on;

use crate::{
    corpus::{self, SKILLS, Skill, Split, Turn},
    model::{Batch, Layout, Pass},
    optimizer::quantized,
    vocabulary::{Document, Vocabulary},
};

/// Longest answer, in tokens: twice the longest story.
const ANSWER_TOKENS: usize = 320;

/// Decides which conversations perplexity is measured on.
const HELD_OUT_SEED: u64 = 0x4e1d;

/// A checkpoint, opened.
pub struct Subject {
    checkpoint: Checkpoint<DirectoryRepository>,
    vocabulary: Vocabulary,
    engine: Engine,
}

impl Subject {
    pub fn open(dir: &Path) -> Result<Subject> {
        let checkpoint = block_on(Checkpoint::open(DirectoryRepository::new(dir)))?;
        let vocabulary = Vocabulary::of(block_on(Text::open(checkpoint.repository()))?)?;
        let options = ModelOptions {
            kv: KvFormat::F16,
            ..Default::default()
        };
        let engine = block_on(Engine::load(&checkpoint, &options, &mut |_, _, _| ()))?;
        Ok(Subject {
            checkpoint,
            vocabulary,
            engine,
        })
    }

    pub fn adapter(&self) -> String {
        let facts = self.engine.facts();
        format!("{} ({})", facts.adapter, facts.backend)
    }

    /// The answer to a conversation's last question, and whether the model ended it itself.
    fn answer(&mut self, turns: &[Turn], sampling: Sampling) -> Result<(String, bool)> {
        let prompt = self.vocabulary.prompt(turns)?;
        let options = GenerateOptions {
            max_tokens: ANSWER_TOKENS,
            sampling,
            stop_token_ids: self.vocabulary.text.stop_token_ids.clone(),
            ..Default::default()
        };
        let mut session = block_on(self.engine.session())?;
        let go_on = &mut |_| ControlFlow::Continue(());
        let generation = block_on(self.engine.generate(&mut session, &prompt, &options, go_on))?;
        let text = self.vocabulary.text.tokenizer.decode(&generation.tokens, true)?;
        Ok((text, generation.finish == Finish::Stop))
    }

    /// Asks `count` held-out questions of every skill, greedily; a Markdown table, and what went wrong.
    pub fn quiz(&mut self, count: u32, show_wrong: usize) -> Result<String> {
        let mut report = String::from("| skill | right | of |\n|---|---|---|\n");
        let mut wrong_answers = String::new();
        let (mut all_right, mut all_asked) = (0, 0);
        for skill in SKILLS {
            let mut random = Rng::with_seed(0x9015 + skill as u64);
            let (mut right, mut asked, mut shown) = (0, 0, 0);
            // No conversation twice: a small skill has fewer than `count`.
            let mut drawn = HashSet::new();
            for _ in 0..50 * count {
                let chat = corpus::conversation(&mut random, Split::HeldOut, skill);
                let Some(last) = chat.last() else { continue };
                if asked == count || !drawn.insert(chat.iter().map(|turn| turn.question.as_str()).collect::<String>()) {
                    continue;
                }
                asked += 1;
                let (answer, finished) = self.answer(&chat, Sampling::default())?;
                if last.rule.holds(&answer, finished) {
                    right += 1;
                } else if shown < show_wrong {
                    shown += 1;
                    writeln!(
                        wrong_answers,
                        "{skill:?}: {}\n  wanted {:?}\n  got {answer:?}",
                        last.question, last.rule
                    )?;
                }
            }
            all_right += right;
            writeln!(
                report,
                "| {} | {right} | {asked} |",
                format!("{skill:?}").to_lowercase()
            )?;
            all_asked += asked;
            eprintln!("{skill:?}: {right} of {asked}");
        }
        let percent = 100.0 * f64::from(all_right) / f64::from(all_asked.max(1));
        writeln!(
            report,
            "| **all** | **{all_right}** ({percent:.1} %) | **{all_asked}** |\n\n{wrong_answers}"
        )?;
        Ok(report)
    }

    /// Stories for held-out requests, seeds 1 to `count`.
    pub fn stories(&mut self, count: u64, temperature: f32) -> Result<String> {
        let mut report = String::new();
        for seed in 1..=count {
            let chat = corpus::conversation(&mut Rng::with_seed(seed), Split::HeldOut, Skill::Story);
            let sampling = Sampling {
                temperature,
                seed: [seed as u32, 0],
                ..Default::default()
            };
            let (story, finished) = self.answer(&chat, sampling)?;
            let end = if finished { "" } else { " (cut off)" };
            writeln!(report, "{seed}. *{}* {story}{end}", chat[0].question)?;
        }
        Ok(report)
    }

    /// Perplexity of `count` held-out conversations' answers on the GPU and by the reference, and each expert's share.
    pub fn held_out(&mut self, count: usize) -> Result<String> {
        let reference = block_on(Reference::load(&self.checkpoint, false))?;
        let config = reference.config.clone();
        let mut random = Rng::with_seed(HELD_OUT_SEED);
        let mut expert_tokens = vec![vec![0usize; config.experts]; config.layers.len()];
        let (mut gpu, mut cpu, mut learned_tokens, mut tokens) = (0.0, 0.0, 0, 0);
        for _ in 0..count {
            let chat = corpus::short_conversation(&mut random, Split::HeldOut, true);
            let Document { ids, learned } = self.vocabulary.chat(&chat, false);
            let (loss, choices) = reference_loss(&reference, &ids, &learned);
            cpu += loss;
            for (counts, choices) in expert_tokens.iter_mut().zip(choices) {
                choices.iter().for_each(|choice| counts[choice.expert as usize] += 1);
            }
            let score = block_on(self.engine.score(&ids[..1], &ids[1..]))?;
            for (logprob, _) in score
                .logprobs
                .iter()
                .zip(&learned[1..])
                .filter(|(_, learned)| **learned)
            {
                gpu -= f64::from(*logprob);
                learned_tokens += 1;
            }
            tokens += ids.len() - 1;
        }
        let [gpu, cpu] = [gpu, cpu].map(|loss: f64| (loss / f64::from(learned_tokens)).exp());
        let mut report = format!(
            "{count} conversations, {tokens} tokens, {learned_tokens} of them answers: perplexity {gpu:.5} on the GPU, \
             {cpu:.5} by the CPU reference ({:+.3} %)\n\n| layer | least used expert | busiest | unused |\n|---|---|---|---|\n",
            100.0 * (gpu / cpu - 1.0)
        );
        for (layer, counts) in expert_tokens.iter().enumerate() {
            let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
            let [least, most] = [counts.iter().min(), counts.iter().max()].map(|n| *n.unwrap_or(&0) as f64 / mean);
            let unused = counts.iter().filter(|&&count| count == 0).count();
            writeln!(report, "| {layer} | {least:.2}x the mean | {most:.2}x | {unused} |")?;
        }
        report += "\nShare of tokens, in percent, of experts 0 to 59 (a token takes 4, so a layer's sum is 400):\n\n";
        for (layer, counts) in expert_tokens.iter().enumerate() {
            let share = |count: &usize| format!("{:.1}", 100.0 * *count as f64 / tokens as f64);
            writeln!(
                report,
                "- layer {layer}: {}",
                counts.iter().map(share).collect::<Vec<_>>().join(" ")
            )?;
        }
        Ok(report)
    }
}

/// Held-out conversations and the reference's loss on their answers, for other runtimes to be held against.
pub fn print_held_out(dir: &Path, count: usize) -> Result<()> {
    let checkpoint = block_on(Checkpoint::open(DirectoryRepository::new(dir)))?;
    let vocabulary = Vocabulary::of(block_on(Text::open(checkpoint.repository()))?)?;
    let reference = block_on(Reference::load(&checkpoint, false))?;
    let mut random = Rng::with_seed(HELD_OUT_SEED);
    for _ in 0..count {
        let chat = corpus::short_conversation(&mut random, Split::HeldOut, true);
        let Document { ids, learned } = vocabulary.chat(&chat, false);
        let (loss, _) = reference_loss(&reference, &ids, &learned);
        println!("{}", serde_json::json!({"ids": ids, "learned": learned, "loss": loss}));
    }
    Ok(())
}

/// How far a checkpoint's perplexity on some held-out conversations is, by the CPU reference, from that of the weights it
/// was made of, as a part of it.
pub fn difference_from_reference(dir: &Path, layout: &Layout, weights: &[f32]) -> Result<f64> {
    const CONVERSATIONS: usize = 5;
    let checkpoint = block_on(Checkpoint::open(DirectoryRepository::new(dir)))?;
    let vocabulary = Vocabulary::of(block_on(Text::open(checkpoint.repository()))?)?;
    let reference = block_on(Reference::load(&checkpoint, false))?;
    let mut random = Rng::with_seed(HELD_OUT_SEED);
    let mut batch = Batch::default();
    let mut theirs = 0.0;
    for _ in 0..CONVERSATIONS {
        let chat = corpus::short_conversation(&mut random, Split::HeldOut, true);
        let Document { ids, learned } = vocabulary.chat(&chat, false);
        theirs += reference_loss(&reference, &ids, &learned).0;
        batch.push(&ids, &learned);
    }
    let ours = Pass::new(layout).loss(&quantized(layout, weights, 1), &batch);
    Ok((((ours.loss - theirs) / ours.learned_tokens as f64).exp() - 1.0).abs())
}

/// Sum of -ln p over the learned ones of `ids[1..]` by the CPU reference, and the experts chosen in each layer.
pub fn reference_loss(reference: &Reference, ids: &[u32], learned: &[bool]) -> (f64, Vec<Vec<Choice>>) {
    let mut trace = Trace::default();
    let x = reference.forward(&mut ReferenceCache::default(), &ids[..ids.len() - 1], Some(&mut trace));
    let mut loss = 0.0;
    for (i, x) in x
        .chunks_exact(reference.config.hidden_size)
        .enumerate()
        .filter(|(i, _)| learned[i + 1])
    {
        let logits = reference.logits(x);
        let largest = logits.iter().fold(f32::MIN, |largest, &logit| largest.max(logit));
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
        loss += sum.ln() - f64::from(logits[ids[i + 1] as usize] - largest);
    }
    (loss, trace.choices)
}
