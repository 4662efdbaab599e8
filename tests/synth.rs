//! Synthetic models behave: activations of ordinary size, logits that are neither flat nor peaked, experts that are
//! used, a tokenizer that reads and writes. The dense shape runs on the GPU as on the CPU.

use std::collections::HashSet;

use mobilemoe_web::{
    checkpoint::{
        ByteSource, Checkpoint, Repository,
        synth::{Shape, Synth, shape},
    },
    config::WeightFormat,
    engine::Engine,
    kernels::{Form, KvFormat, Variant},
    model::{ModelOptions, Reference, ReferenceCache, Trace},
    text::{Message, Text},
};
use pollster::block_on;

fn std(values: &[f32]) -> f32 {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt()
}

#[test]
fn synthetic_models_behave() {
    const TOKENS: usize = 64;
    for (name, format) in [
        ("tiny", WeightFormat::Int4G32),
        ("tiny", WeightFormat::Bf16),
        ("mini", WeightFormat::Int4G32),
    ] {
        let synth = Synth {
            format,
            ..Synth::new(shape(name).unwrap())
        };
        let checkpoint = block_on(Checkpoint::open(synth.in_memory().unwrap())).unwrap();
        let reference = block_on(Reference::load(&checkpoint, false)).unwrap();
        let vocab = reference.config.vocab_size as u32;
        let ids: Vec<u32> = (0..TOKENS as u32).map(|i| (i * 2_654_435 + 7) % vocab).collect();
        let mut trace = Trace::default();
        let x = reference.forward(&mut ReferenceCache::default(), &ids, Some(&mut trace));
        let logits = reference.logits(&x);

        println!(
            "{name} {format:?}: residual {:?}",
            trace.hidden.iter().map(|x| std(x)).collect::<Vec<_>>()
        );
        println!(
            "  attention {:?}",
            trace.attention.iter().map(|x| std(x)).collect::<Vec<_>>()
        );
        println!(
            "  feed-forward {:?}",
            trace.feed_forward.iter().map(|x| std(x)).collect::<Vec<_>>()
        );
        assert!((0.5..1.5).contains(&std(&x)), "residual std {}", std(&x));
        assert!((1.5..2.5).contains(&std(&logits)), "logits std {}", std(&logits));
        let greedy: HashSet<usize> = logits
            .chunks_exact(vocab as usize)
            .filter_map(|row| Some(row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?.0))
            .collect();
        println!("  logits {}, {} different greedy tokens", std(&logits), greedy.len());
        assert!(
            greedy.len() > TOKENS / 2,
            "the next token hardly depends on the last one"
        );
        for choices in &trace.choices {
            let used: HashSet<u32> = choices.iter().map(|choice| choice.expert).collect();
            let weights: Vec<f32> = choices.iter().map(|choice| choice.weight).collect();
            println!("  {} experts, weights std {}", used.len(), std(&weights));
            assert!(
                used.len() >= 40,
                "only {} of 60 experts were chosen by {TOKENS} tokens",
                used.len()
            );
        }
    }
}

/// A checkpoint made while it is read has the bytes of one that was made before, however it is read.
#[test]
fn made_while_read() {
    let synth = Synth {
        shards: 2,
        ..Synth::new(shape("tiny").unwrap())
    };
    let (whole, made) = (synth.in_memory().unwrap(), synth.repository().unwrap());
    for (file, bytes) in whole.files() {
        let source = block_on(made.open(file)).unwrap().unwrap();
        assert_eq!(source.len_bytes(), bytes.len() as u64, "{file}");
        // Forward in odd pieces, then backward.
        let steps = (0..bytes.len()).step_by(99_991);
        for begin in steps.clone().chain(steps.rev().step_by(3)) {
            let mut piece = vec![0; 99_991.min(bytes.len() - begin)];
            block_on(source.read(begin as u64, &mut piece)).unwrap();
            assert!(piece == bytes[begin..][..piece.len()], "{file} from {begin}");
        }
        let beyond = block_on(source.read(bytes.len() as u64 - 1, &mut [0; 2]));
        assert_eq!(beyond.unwrap_err().code(), "EndOfFile");
    }
    assert!(block_on(made.open("nothing")).unwrap().is_none());
}

/// The dense baseline's kinds of layers, tiny: the GPU equals the reference, before the window is full and after.
#[test]
fn dense_layers_and_sliding_windows() {
    let tiny = Shape {
        layers: 5,
        experts: 0,
        experts_per_token: 0,
        expert_size: 0,
        window: 100,
        ..shape("tiny").unwrap()
    };
    let checkpoint = block_on(Checkpoint::open(Synth::new(tiny).in_memory().unwrap())).unwrap();
    let mut reference = block_on(Reference::load(&checkpoint, false)).unwrap();
    let windows: Vec<Option<usize>> = reference.config.layers.iter().map(|layer| layer.window).collect();
    assert_eq!(windows, [Some(100), Some(100), Some(100), None, Some(100)]);

    let ids: Vec<u32> = (0..210).map(|i| (i * 37 + 5) % 512).collect();
    let logits = |reference: &Reference| {
        let x = reference.forward(&mut ReferenceCache::default(), &ids, None);
        reference.logits(&x)
    };
    let expected = logits(&reference);
    assert!((1.5..2.5).contains(&std(&expected)), "logits std {}", std(&expected));

    for form in [Form::THREAD, Form::QUADS, Form::WORKGROUP] {
        for chunk_tokens in [12, 1] {
            let options = ModelOptions {
                kv: KvFormat::F32,
                chunk_tokens,
                variant: Some(Variant::of(form)),
                ..Default::default()
            };
            let mut engine = match block_on(Engine::load(&checkpoint, &options, &mut |_, _, _| ())) {
                Err(error) if error.code() == "MissingFeature" => continue,
                loaded => loaded.unwrap(),
            };
            let trace = block_on(engine.logits(&ids, true)).unwrap();
            let error = largest_difference(&trace.logits, &expected);
            println!("dense, window 100, by {chunk_tokens}, {form} kernels: GPU off by {error:.1e}");
            assert!(error < 1e-3, "{error}");
        }
    }

    // The first 100 tokens see the same without a window, the others do not.
    reference.config.layers.iter_mut().for_each(|layer| layer.window = None);
    let unbounded = logits(&reference);
    assert_eq!(unbounded[..100 * 512], expected[..100 * 512]);
    assert!(largest_difference(&unbounded[100 * 512..], &expected[100 * 512..]) > 0.1);
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn synthetic_tokenizers_read_and_write() {
    for name in ["tiny", "mini"] {
        let shape = shape(name).unwrap();
        let text = block_on(Text::open(&Synth::new(shape).in_memory().unwrap())).unwrap();
        assert_eq!(text.tokenizer.vocab_size(), shape.vocab);
        let id = |token: &str| text.tokenizer.token_to_id(token).unwrap();

        for said in ["Hello, MobileMoE! \u{1F600}\n\t12345", "  bade fogu   ", ""] {
            let ids = text.tokenizer.encode(said, true, false).unwrap();
            assert_eq!(ids[0], id("<|begin_of_text|>"));
            assert_eq!(text.tokenizer.decode(&ids, true).unwrap(), said);
        }
        // Merges apply: a syllable is one token.
        assert_eq!(
            text.tokenizer.encode("ba da", false, false).unwrap(),
            [id("ba"), id("\u{120}da")]
        );

        let ids = text.encode_chat(&[Message::new("user", "ba")], true).unwrap();
        let (start, end) = (id("<|header_start|>"), id("<|header_end|>"));
        assert_eq!(
            (ids[0], ids[1], ids.iter().filter(|&&i| i == start).count()),
            (id("<|begin_of_text|>"), start, 2)
        );
        assert_eq!(ids.iter().filter(|&&i| i == end).count(), 2);
        assert_eq!(text.stop_token_ids, [id("<|end_of_text|>"), id("<|eot|>")]);
        // Every id can be shown.
        let all: Vec<u32> = (0..shape.vocab as u32).collect();
        assert!(!text.tokenizer.decode(&all, false).unwrap().is_empty());
    }
}
