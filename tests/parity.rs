//! The CPU reference and the GPU against official code's logits, experts, greedy text and scores.
//!
//! Bounds: 2e-4 for the reference, 1e-3 for the GPU with a 32-bit KV cache. `cargo test --test parity -- --nocapture`
//! prints the measured errors.

mod common;

use std::{collections::HashMap, ops::ControlFlow};

use common::*;
use mobilemoe_web::{
    engine::{Engine, GenerateOptions},
    kernels::{Form, Inputs, KvFormat, Style, rope},
    model::{Reference, ReferenceCache, Trace},
};
use pollster::block_on;

const REFERENCE_BOUND: f32 = 2e-4;
const GPU_BOUND: f32 = 1e-3;
/// Rounding keys and values to 11 bits may tip a close choice of experts: no fine bound holds.
const HALF_KV_BOUND: f32 = 0.1;
/// Root mean square with the inputs of matrices in f16, and in INT8, of the reference with the same: where a step of
/// rounding tips, a close choice of experts may.
const F16_BOUND: f32 = 0.03;
const INT8_BOUND: f32 = 0.2;
/// Likewise with bytes, on the INT4 fixtures and on the BF16 one, whose routing is closer to ties.
const BYTE_KV_BOUND: [f32; 2] = [0.3, 2.5];

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

/// On a software GPU the longest prompts take minutes, and so does compiling a checkpoint's kernels: by default the longest
/// prompts are run once a checkpoint, in large chunks, and every way to run is tried on one or two checkpoints.
/// `MOBILEMOE_PARITY=full` (`npm run test:long`) runs every prompt every way on each, with every form of the kernels.
fn longest(usual: usize) -> usize {
    if full() { 1500 } else { usual }
}

fn full() -> bool {
    std::env::var("MOBILEMOE_PARITY").is_ok_and(|scope| scope == "full")
}

/// The checkpoints that a way to run is tried on.
fn on(usual: &[&'static str]) -> Vec<&'static str> {
    if full() { CHECKPOINTS.to_vec() } else { usual.to_vec() }
}

fn gpu_matches(name: &'static str, form: Form, kv: KvFormat, chunk_tokens: usize, longest: usize) {
    let fixture = Fixture::open(name);
    let quantized = (name == "tiny-a-sft").then(|| fixture.reference(true));
    let Some(mut engine) = fixture.engine_if_offered(form, kv, chunk_tokens) else {
        return;
    };
    let bound = match kv {
        KvFormat::F32 => GPU_BOUND,
        KvFormat::F16 => HALF_KV_BOUND,
        KvFormat::I8 => BYTE_KV_BOUND[usize::from(quantized.is_some())],
    };
    for (prompt, ids) in fixture.prompts().into_iter().filter(|(_, ids)| ids.len() <= longest) {
        let expected = gpu_expected(&fixture, quantized.as_ref(), &prompt, &ids);
        let all_positions = expected.len() > engine.config().vocab_size || ids.len() == 1;
        let got = block_on(engine.logits(&ids, all_positions)).unwrap();
        let error = largest_difference(&got.logits, &expected);
        println!("{name} {prompt} by {chunk_tokens}, {kv:?} cache, {form} kernels: GPU off by {error:.1e}");
        assert!(error <= bound, "{name} {prompt} by {chunk_tokens}: {error}");
        if quantized.is_some() {
            let official = fixture.tensor(&format!("{prompt}.logits"));
            println!(
                "{name} {prompt}: quantizing costs {:.2e}",
                largest_difference(&expected, official)
            );
        } else if kv == KvFormat::F32 {
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
        }
    }
}

#[test]
fn gpu_in_large_chunks() {
    for name in CHECKPOINTS {
        gpu_matches(name, Form::QUADS, KvFormat::F32, 512, 1500);
        gpu_matches(name, Form::WORKGROUP, KvFormat::F32, 512, longest(33));
    }
    for name in on(&["tiny-a"]) {
        gpu_matches(name, Form::THREAD, KvFormat::F32, 512, longest(33));
    }
}

/// A chunk that is no multiple of the tile, and shorter than most prompts.
#[test]
fn gpu_in_chunks_of_37() {
    for name in on(&["tiny-c"]) {
        gpu_matches(name, Form::QUADS, KvFormat::F32, 37, longest(130));
        gpu_matches(name, Form::WORKGROUP, KvFormat::F32, 37, longest(130));
    }
    for name in on(&["tiny-a"]) {
        gpu_matches(name, Form::THREAD, KvFormat::F32, 37, longest(130));
    }
}

#[test]
fn gpu_token_by_token() {
    for name in on(&["tiny-a", "tiny-a-sft"]) {
        gpu_matches(name, Form::THREAD, KvFormat::F32, 1, longest(130));
    }
    for name in on(&["tiny-c"]) {
        gpu_matches(name, Form::WORKGROUP, KvFormat::F32, 1, longest(130));
    }
}

#[test]
fn gpu_with_smaller_cache() {
    for name in on(&["tiny-c"]) {
        gpu_matches(name, Form::QUADS, KvFormat::F16, 512, longest(130));
        gpu_matches(name, Form::WORKGROUP, KvFormat::F16, 512, longest(33));
    }
    for name in on(&["tiny-a-sft"]) {
        gpu_matches(name, Form::QUADS, KvFormat::I8, 512, longest(33));
    }
    for name in on(&["tiny-a"]) {
        gpu_matches(name, Form::THREAD, KvFormat::F16, 512, longest(33));
    }
}

/// The forms that differ from the plain ones, each held to the reference whose matrices round their inputs alike.
#[test]
fn gpu_in_other_forms() {
    let some = |form: &Form| {
        let name = form.to_string();
        full()
            || [
                "workgroup-subgroups-tile8",
                "workgroup-int8-subgroups",
                "workgroup-packed-subgroups",
                "workgroup-f16-tile8",
            ]
            .contains(&name.as_str())
    };
    let names = ["tiny-a", "tiny-c"];
    for name in &names[..if full() { 2 } else { 1 }] {
        let fixture = Fixture::open(name);
        let mut reference = fixture.reference(false);
        // What INT8 gives, from one way to multiply and the other.
        let mut of_integers: HashMap<(bool, usize, String), Vec<f32>> = HashMap::new();
        for form in Form::all().filter(some) {
            let Some(mut engine) = fixture.engine_if_offered(form, KvFormat::F32, 512) else {
                continue;
            };
            reference.inputs = form.inputs;
            for (prompt, ids) in fixture.prompts() {
                if ids.len() > if full() { 130 } else { 33 } {
                    continue;
                }
                let expected = fixture.tensor(&format!("{prompt}.logits"));
                let (expected, _) = reference_logits(&reference, &ids, expected.len());
                let all_positions = expected.len() > engine.config().vocab_size || ids.len() == 1;
                let got = block_on(engine.logits(&ids, all_positions)).unwrap().logits;
                let (largest, mean) = (largest_difference(&got, &expected), root_mean_square(&got, &expected));
                println!("{name} {prompt}, {form} kernels: GPU off by {largest:.1e}, root mean square {mean:.1e}");
                let (error, bound) = match form.inputs {
                    Inputs::F32 => (largest, GPU_BOUND),
                    Inputs::F16 => (mean, F16_BOUND),
                    Inputs::Int8 | Inputs::Packed => (mean, INT8_BOUND),
                };
                assert!(error <= bound, "{name} {prompt}, {form}: {error}");
                if matches!(form.inputs, Inputs::Int8 | Inputs::Packed) && form.style == Style::Workgroup {
                    let other = of_integers.insert((form.subgroups, form.tile, prompt.clone()), got.clone());
                    assert!(
                        other.is_none_or(|other| other == got),
                        "{name} {prompt}, {form}: other integers"
                    );
                }
            }
        }
    }
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
            if ids(&continuation["prompt"]).len() > longest(300) {
                continue;
            }
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
    for run_ahead in [1, 7, 40] {
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

/// Each mistake that `expected.json` lists would be caught. Those that wrong data or a wrong config can imitate are
/// made, and move the logits as far as official code found; the others are far outside the bounds.
#[test]
fn listed_mistakes_are_caught() {
    for name in ["tiny-a", "tiny-c"] {
        let fixture = Fixture::open(name);
        let (_, ids) = fixture
            .prompts()
            .into_iter()
            .find(|(prompt, _)| prompt == "p33")
            .unwrap();
        let expected = fixture.tensor("p33.logits");
        let mut made = 0;
        for (mistake, moved) in fixture.facts["mutations_max_abs_logit_diff"].as_object().unwrap() {
            let moved = moved["p33"].as_f64().unwrap() as f32;
            let mut reference = fixture.reference(false);
            if make_mistake(&mut reference, mistake) {
                let error = largest_difference(&reference_logits(&reference, &ids, expected.len()).0, expected);
                println!("{name} {mistake}: moves logits by {error:.3e}, official code found {moved:.3e}");
                assert!(
                    (error - moved).abs() <= 0.01 * moved + REFERENCE_BOUND,
                    "{name} {mistake}: {error}"
                );
                made += 1;
            }
            // Nothing to catch: one is the same thing arithmetically, the others do not apply to this checkpoint.
            let same = [
                "qk_norm_before_rope",
                "ignore_no_rope_layers",
                "qknorm_on_nope_layer",
                "gqa_interleaved",
            ];
            assert!(
                moved > GPU_BOUND || same.contains(&mistake.as_str()) && moved < 1e-9,
                "{name} {mistake}: {moved}"
            );
        }
        assert_eq!(made, 11);
    }
}

/// Imitates a mistake by damaging config or weights; false where that is not possible.
fn make_mistake(reference: &mut Reference, mistake: &str) -> bool {
    let config = &mut reference.config;
    let (hidden, expert, layers) = (config.hidden_size, config.expert_size, config.layers.len());
    match mistake {
        "no_rope_scaling" => config.rope_scaling = None,
        "no_qk_norm" => config.use_qk_norm = false,
        "no_norm_topk" => config.norm_topk_prob = false,
        "no_scaling_factor" => config.routed_scaling_factor = 1.0,
        "eps_1e-6" => config.rms_norm_eps = 1e-6,
        "nibble_order" => for_each_qweight(reference, &|byte| byte.rotate_left(4)),
        "nibble_offset8" => for_each_qweight(reference, &|byte| byte ^ 0x88),
        _ => {
            for layer in 0..layers {
                let name = |tensor: &str| format!("model.layers.{layer}.{tensor}");
                match mistake {
                    "no_expert_bias" => reference.tensor_mut(&name("feed_forward.expert_bias")).unwrap().fill(0),
                    "no_shared_expert" => {
                        let scale = name("feed_forward.shared_expert.down_proj.weight_scale");
                        reference.tensor_mut(&scale).unwrap().fill(0);
                    }
                    "gate_up_swapped" => {
                        // Rows of gate nibbles, then up nibbles; likewise their scales.
                        for (tensor, half_row) in [("gate_up_qweight", expert / 2), ("gate_up_scale", expert / 16)] {
                            let tensor = reference
                                .tensor_mut(&name(&format!("feed_forward.experts.{tensor}")))
                                .unwrap();
                            tensor
                                .chunks_exact_mut(2 * half_row)
                                .for_each(|row| row.rotate_left(half_row));
                        }
                    }
                    // Rotating (j, j + 32) instead of (2j, 2j + 1): the same as permuted projections, because scores
                    // and norms do not care about the order of a head's dimensions.
                    "rope_half_split" => {
                        for matrix in ["q_proj", "k_proj"] {
                            for (part, row) in [("qweight", hidden / 2), ("weight_scale", hidden / 16)] {
                                let tensor = name(&format!("self_attn.{matrix}.{part}"));
                                let tensor = reference.tensor_mut(&tensor).unwrap();
                                for head in tensor.chunks_exact_mut(64 * row) {
                                    let rows = head.to_vec();
                                    for j in 0..32 {
                                        head[2 * j * row..][..row].copy_from_slice(&rows[j * row..][..row]);
                                        head[(2 * j + 1) * row..][..row]
                                            .copy_from_slice(&rows[(j + 32) * row..][..row]);
                                    }
                                }
                            }
                        }
                    }
                    _ => return false,
                }
            }
        }
    }
    true
}

fn for_each_qweight(reference: &mut Reference, change: &dyn Fn(u8) -> u8) {
    for spec in mobilemoe_web::checkpoint::runtime_tensors(&reference.config) {
        if spec.name.ends_with("qweight") {
            reference
                .tensor_mut(&spec.name)
                .unwrap()
                .iter_mut()
                .for_each(|byte| *byte = change(*byte));
        }
    }
}
