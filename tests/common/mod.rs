//! The fixtures of `tests/fixtures`: checkpoints in the published format with expected values from official code.
#![allow(dead_code)] // each test file uses its part

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use mobilemoe_web::{
    checkpoint::{Checkpoint, DirectoryRepository, MemoryRepository, Repository, safetensors::read_header},
    engine::Engine,
    kernels::{Form, KvFormat, Variant},
    model::{ModelOptions, Reference},
};
use pollster::block_on;
use serde_json::Value;

pub const CHECKPOINTS: [&str; 3] = ["tiny-a", "tiny-a-sft", "tiny-c"];

/// A checkpoint with what official code computes from it.
pub struct Fixture {
    pub name: &'static str,
    /// `expected.json`.
    pub facts: Value,
    /// `expected.safetensors`: f32 tensors, and i32 ones as f32.
    tensors: HashMap<String, Vec<f32>>,
}

pub fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

impl Fixture {
    pub fn open(name: &'static str) -> Fixture {
        let facts = std::fs::read(directory(name).join("expected.json")).unwrap();
        let bytes = std::fs::read(directory(name).join("expected.safetensors")).unwrap();
        let mut memory = MemoryRepository::default();
        memory.insert("expected.safetensors", bytes.clone());
        let source = block_on(memory.open("expected.safetensors")).unwrap().unwrap();
        let header = block_on(read_header(&source, "expected.safetensors")).unwrap();
        let value = |word: &[u8], dtype| match dtype {
            mobilemoe_web::checkpoint::Dtype::F32 => f32::from_le_bytes(word.try_into().unwrap()),
            _ => i32::from_le_bytes(word.try_into().unwrap()) as f32,
        };
        let tensors = (header.tensors.iter())
            .map(|tensor| {
                let data = &bytes[tensor.offset_bytes as usize..][..tensor.len_bytes as usize];
                (
                    tensor.name.clone(),
                    data.chunks_exact(4).map(|word| value(word, tensor.dtype)).collect(),
                )
            })
            .collect();
        Fixture {
            name,
            facts: serde_json::from_slice(&facts).unwrap(),
            tensors,
        }
    }

    pub fn checkpoint(&self) -> Checkpoint<DirectoryRepository> {
        block_on(Checkpoint::open(DirectoryRepository::new(directory(self.name)))).unwrap()
    }

    /// With the kernels that software adapters are faster with: a slow moment must not change what is tested.
    pub fn engine(&self, kv: KvFormat, chunk_tokens: usize) -> Engine {
        self.engine_of(Form::THREAD, kv, chunk_tokens)
    }

    /// With kernels of one form.
    pub fn engine_of(&self, form: Form, kv: KvFormat, chunk_tokens: usize) -> Engine {
        self.engine_if_offered(form, kv, chunk_tokens).unwrap()
    }

    /// The same; `None` if the device lacks what the form needs.
    pub fn engine_if_offered(&self, form: Form, kv: KvFormat, chunk_tokens: usize) -> Option<Engine> {
        engine_if_offered(&directory(self.name), form, kv, chunk_tokens)
    }

    pub fn reference(&self, quantize: bool) -> Reference {
        block_on(Reference::load(&self.checkpoint(), quantize)).unwrap()
    }

    pub fn tensor(&self, name: &str) -> &[f32] {
        &self.tensors[name]
    }

    /// Names ("p33") and tokens of the prompts, the short ones first.
    pub fn prompts(&self) -> Vec<(String, Vec<u32>)> {
        let mut prompts: Vec<(String, Vec<u32>)> = (self.facts["prompts"].as_object().unwrap().iter())
            .map(|(name, prompt)| (name.clone(), ids(&prompt["tokens"])))
            .collect();
        prompts.sort_by_key(|(_, tokens)| tokens.len());
        prompts
    }
}

pub fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

pub fn floats(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap() as f32)
        .collect()
}

/// The checkpoint in a directory with kernels of one form; `None` if the device lacks what the form needs.
pub fn engine_if_offered(directory: &Path, form: Form, kv: KvFormat, chunk_tokens: usize) -> Option<Engine> {
    let options = ModelOptions {
        kv,
        variant: Some(Variant::of(form)),
        chunk_tokens,
        context_length: Some(2048),
        ..Default::default()
    };
    let checkpoint = block_on(Checkpoint::open(DirectoryRepository::new(directory))).unwrap();
    match block_on(Engine::load(&checkpoint, &options, &mut |_, _, _| ())) {
        Ok(engine) => Some(engine),
        Err(error) if error.code() == "MissingFeature" => {
            println!("{error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Largest absolute difference; lengths must agree.
#[track_caller]
pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |largest, difference| {
            assert!(!difference.is_nan());
            f32::max(largest, difference)
        })
}

/// Root of the mean of squared differences.
pub fn root_mean_square(a: &[f32], b: &[f32]) -> f32 {
    let squares: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (squares / a.len() as f64).sqrt() as f32
}

/// Counts layers and positions where other experts were chosen although the expected margin exceeds `error`.
/// `experts` `[layers][positions, k]`; the order among the chosen is not compared.
pub fn wrong_choices(fixture: &Fixture, prompt: &str, experts: &[Vec<u32>], error: f32) -> usize {
    let margins = fixture.tensor(&format!("{prompt}.router.margin"));
    let expected = fixture.tensor(&format!("{prompt}.router.experts"));
    let chosen: Vec<u32> = experts.concat();
    assert_eq!(chosen.len(), expected.len());
    let k = expected.len() / margins.len();
    let sorted = |ids: &[u32]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    (0..margins.len())
        .filter(|&i| {
            let wanted: Vec<u32> = expected[i * k..][..k].iter().map(|id| *id as u32).collect();
            margins[i] > error && sorted(&chosen[i * k..][..k]) != sorted(&wanted)
        })
        .count()
}
