//! The CPU reference and the GPU against official code's logits, experts, greedy text and scores.
//!
//! Bounds: 2e-4 for the reference, 1e-3 for the GPU with a 32-bit KV cache. `cargo test --test parity -- --nocapture`
//! prints the measured errors.

mod common;

use std::ops::ControlFlow;

use common::*;
use mobilemoe_web::{
    engine::{Engine, GenerateOptions},
    kernels::{KvFormat, rope},
    model::{Reference, ReferenceCache, Trace},
};
use pollster::block_on;

const REFERENCE_BOUND: f32 = 2e-4;
const GPU_BOUND: f32 = 1e-3;

/// Logits of the rows the fixture has (all positions, or the last), and the trace.
fn reference_logits(reference: &Reference, ids: &[u32], expected_len: usize) -> (Vec<f32>, Trace) {
    let mut trace = Trace::default();
    let x = reference.forward(&mut ReferenceCache::default(), ids, Some(&mut trace));
    let rows = expected_len / reference.config.vocab_size;
    (
        reference.logits(&x[x.len() - rows * reference.config.hidden_size..]),
        trace,
    )
}

#[test]
fn rope_angles_equal_official_code() {
    let fixture = Fixture::open("tiny-a");
    let config = fixture.reference(false).config;
    assert!(largest_difference(&rope::frequencies(&config), fixture.tensor("rope.inv_freq")) < 1e-7);
    let positions = fixture.tensor("rope.positions");
    let table = rope::table(&config, 1 + positions.iter().fold(0.0, |a: f32, b| a.max(*b)) as usize);
    for (i, position) in positions.iter().enumerate() {
        let head = &fixture.tensor("rope.in")[i * 64..][..64];
        let rotated: Vec<f32> = (head.chunks_exact(2).zip(&table[*position as usize * 32..]))
            .flat_map(|(pair, [cos, sin])| [pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos])
            .collect();
        let error = largest_difference(&rotated, &fixture.tensor("rope.rotated")[i * 64..][..64]);
        assert!(error < 1e-5, "position {position}: {error}");
    }
}

#[test]
fn reference_equals_official_code() {
    for name in CHECKPOINTS {
        let fixture = Fixture::open(name);
        let reference = fixture.reference(false);
        for (prompt, ids) in fixture.prompts() {
            let expected = fixture.tensor(&format!("{prompt}.logits"));
            let (logits, trace) = reference_logits(&reference, &ids, expected.len());
            let error = largest_difference(&logits, expected);
            println!("{name} {prompt}: reference off by {error:.1e}");
            assert!(error <= REFERENCE_BOUND, "{name} {prompt}: {error}");
            let experts: Vec<Vec<u32>> = trace
                .choices
                .iter()
                .map(|layer| layer.iter().map(|choice| choice.expert).collect())
                .collect();
            assert_eq!(wrong_choices(&fixture, &prompt, &experts, error), 0, "{name} {prompt}");
            let weights: Vec<f32> = trace.choices.iter().flatten().map(|choice| choice.weight).collect();
            assert!(largest_difference(&weights, fixture.tensor(&format!("{prompt}.router.weights"))) < 1e-4);
            if ids.len() <= 7 {
                let inner = |what: &str| fixture.tensor(&format!("{prompt}.{what}"));
                assert!(largest_difference(&trace.hidden.concat(), inner("hidden")) < 1e-4);
                assert!(largest_difference(&trace.attention.concat(), inner("attn_out")) < 1e-4);
                assert!(largest_difference(&trace.feed_forward.concat(), inner("ffn_out")) < 1e-4);
            }
        }
    }
}

/// Token by token, through the cache, is the same as at once.
#[test]
fn reference_token_by_token() {
    let fixture = Fixture::open("tiny-a");
    let reference = fixture.reference(false);
    let (_, ids) = fixture.prompts().into_iter().find(|(name, _)| name == "p130").unwrap();
    let mut cache = ReferenceCache::default();
    let mut x = Vec::new();
    for id in &ids {
        x = reference.forward(&mut cache, &[*id], None);
    }
    let error = largest_difference(&reference.logits(&x), fixture.tensor("p130.logits"));
    assert!(error <= REFERENCE_BOUND, "{error}");
}

/// What the GPU is held to: official code on INT4 checkpoints; on a BF16 one, which it runs quantized, the reference on
/// the same quantized weights.
fn gpu_expected(fixture: &Fixture, quantized: Option<&Reference>, prompt: &str, ids: &[u32]) -> Vec<f32> {
    let official = fixture.tensor(&format!("{prompt}.logits"));
    match quantized {
        None => official.to_vec(),
        Some(reference) => reference_logits(reference, ids, official.len()).0,
    }
}

fn gpu_matches(name: &'static str, chunk_tokens: usize, longest: usize) {
    let fixture = Fixture::open(name);
    let quantized = (name == "tiny-a-sft").then(|| fixture.reference(true));
    let mut exact = fixture.engine(KvFormat::F32, chunk_tokens);
    let mut half = fixture.engine(KvFormat::F16, chunk_tokens);
    for (prompt, ids) in fixture.prompts().into_iter().filter(|(_, ids)| ids.len() <= longest) {
        let expected = gpu_expected(&fixture, quantized.as_ref(), &prompt, &ids);
        let all_positions = expected.len() > exact.config().vocab_size || ids.len() == 1;
        let got = block_on(exact.logits(&ids, all_positions)).unwrap();
        let error = largest_difference(&got.logits, &expected);
        let with_half = block_on(half.logits(&ids, all_positions)).unwrap();
        let half_error = largest_difference(&with_half.logits, &expected);
        println!("{name} {prompt} by {chunk_tokens}: GPU off by {error:.1e}, with 16-bit KV {half_error:.1e}");
        assert!(error <= GPU_BOUND, "{name} {prompt} by {chunk_tokens}: {error}");
        assert!(
            half_error <= 0.1,
            "{name} {prompt} by {chunk_tokens}: {half_error} with 16-bit KV"
        );
        if quantized.is_none() {
            assert_eq!(
                wrong_choices(&fixture, &prompt, &got.experts, error),
                0,
                "{name} {prompt}"
            );
            let weights = fixture.tensor(&format!("{prompt}.router.weights"));
            assert!(
                largest_difference(&got.weights.concat(), weights) < 1e-3,
                "{name} {prompt}"
            );
        } else {
            let official = fixture.tensor(&format!("{prompt}.logits"));
            println!(
                "{name} {prompt}: quantizing costs {:.2e}",
                largest_difference(&expected, official)
            );
        }
    }
}

#[test]
fn gpu_in_chunks_of_512() {
    CHECKPOINTS.into_iter().for_each(|name| gpu_matches(name, 512, 1500));
}

/// A chunk that is no multiple of the tile, and shorter than most prompts.
#[test]
fn gpu_in_chunks_of_37() {
    CHECKPOINTS.into_iter().for_each(|name| gpu_matches(name, 37, 1500));
}

#[test]
fn gpu_token_by_token() {
    CHECKPOINTS.into_iter().for_each(|name| gpu_matches(name, 1, 1500));
}

fn greedy(engine: &mut Engine, ids: &[u32], run_ahead: usize) -> Vec<u32> {
    let options = GenerateOptions {
        max_tokens: 32,
        run_ahead,
        ..Default::default()
    };
    let mut session = block_on(engine.session()).unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    block_on(engine.generate(&mut session, ids, &options, go_on))
        .unwrap()
        .tokens
}

/// The same greedy text up to the first step where official code was undecided by less than the error.
#[test]
fn greedy_continuations() {
    for name in ["tiny-a", "tiny-c"] {
        let fixture = Fixture::open(name);
        let mut engine = fixture.engine(KvFormat::F32, 64);
        for (prompt, continuation) in fixture.facts["greedy"].as_object().unwrap() {
            let expected = ids(&continuation["tokens"]);
            let decided = floats(&continuation["margins"])
                .iter()
                .take_while(|margin| **margin > GPU_BOUND)
                .count();
            let tokens = greedy(&mut engine, &ids(&continuation["prompt"]), 2);
            assert_eq!(tokens[..decided], expected[..decided], "{name} {prompt}");
            println!("{name} {prompt}: {decided} of 32 tokens compared");
        }
    }
}

#[test]
fn running_ahead_changes_nothing() {
    let fixture = Fixture::open("tiny-c");
    let mut engine = fixture.engine(KvFormat::F16, 64);
    let prompt = ids(&fixture.facts["greedy"]["g12"]["prompt"]);
    let alone = greedy(&mut engine, &prompt, 0);
    for run_ahead in [1, 2, 7, 40] {
        assert_eq!(greedy(&mut engine, &prompt, run_ahead), alone, "run_ahead {run_ahead}");
    }
}

#[test]
fn scores() {
    for name in ["tiny-a", "tiny-c"] {
        let fixture = Fixture::open(name);
        let mut engine = fixture.engine(KvFormat::F32, 8);
        for case in fixture.facts["scoring"].as_array().unwrap() {
            let score = block_on(engine.score(&ids(&case["context"]), &ids(&case["continuation"]))).unwrap();
            let error = largest_difference(&score.logprobs, &floats(&case["token_logprobs"]));
            assert!(error <= GPU_BOUND, "{name}: {error}");
            assert_eq!(score.is_greedy, case["is_greedy"].as_bool().unwrap());
        }
    }
}
