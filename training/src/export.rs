//! From weights to a checkpoint in the published layout.

use std::{collections::HashMap, fs, path::Path};

use anyhow::{Context, Result};
use half::bf16;
use mobilemoe_web::checkpoint::{
    Dtype, Parameter, ParameterKind, WEIGHTS_FILE,
    int4::{GROUP, quantize_group},
    safetensors::layout as file_layout,
};

use crate::{model::Layout, shape::Shape, vocabulary::Vocabulary};

/// A checkpoint's files, INT4 as QAT ones are or BF16 as SFT ones.
pub fn files(
    layout: &Layout,
    shape: Shape,
    vocabulary: &Vocabulary,
    weights: &[f32],
    int4: bool,
) -> Vec<(&'static str, Vec<u8>)> {
    let mut tensors: HashMap<String, Vec<u8>> = HashMap::new();
    for (parameter, range) in &layout.parameters {
        let values = &weights[range.clone()];
        match parameter.int4_names().filter(|_| int4) {
            Some((qweight, scale)) => {
                let (packed, scales) = int4_bytes(values);
                tensors.insert(qweight, packed);
                tensors.insert(scale, scales);
            }
            None => drop(tensors.insert(parameter.name.clone(), plain_bytes(parameter, values, int4))),
        }
    }
    let specs = layout.parameters.iter().flat_map(|(parameter, _)| match int4 {
        true => parameter.runtime_tensors(),
        false => vec![parameter.bf16_tensor()],
    });
    let file = file_layout(specs.collect());
    let mut bytes = file.head;
    for tensor in &file.tensors {
        bytes.extend(&tensors[&tensor.name]);
    }
    let mut files = vec![
        ("config.json", shape.config_json(int4).into_bytes()),
        (WEIGHTS_FILE, bytes),
    ];
    files.extend(
        vocabulary
            .files
            .iter()
            .map(|(file, content)| (*file, content.clone().into_bytes())),
    );
    files
}

pub fn write(dir: &Path, files: &[(&'static str, Vec<u8>)]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for (file, bytes) in files {
        fs::write(dir.join(file), bytes).with_context(|| format!("cannot write {}", dir.join(file).display()))?;
    }
    Ok(())
}

/// Nibbles and scales. Weights are rounded to BF16 first: the engine, given the BF16 checkpoint, makes the same bytes.
fn int4_bytes(values: &[f32]) -> (Vec<u8>, Vec<u8>) {
    let (mut packed, mut scales) = (Vec::new(), Vec::new());
    for group in values.as_chunks::<GROUP>().0 {
        let (scale, nibbles) = quantize_group(&group.map(|weight| bf16::from_f32(weight).to_f32()));
        packed.extend(nibbles);
        scales.extend(scale.to_le_bytes());
    }
    (packed, scales)
}

fn plain_bytes(parameter: &Parameter, values: &[f32], int4: bool) -> Vec<u8> {
    let wide = int4 && parameter.kind == ParameterKind::Router;
    let dtype = if wide { Dtype::F32 } else { Dtype::BF16 };
    match dtype {
        Dtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        _ => values
            .iter()
            .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use mobilemoe_web::{
        checkpoint::{Checkpoint, MemoryRepository, TensorSink},
        model::Reference,
    };
    use pollster::block_on;

    use super::*;
    use crate::{
        measure::reference_loss,
        model::{Batch, Pass},
        optimizer::quantized,
        shape,
    };

    fn repository(files: Vec<(&'static str, Vec<u8>)>) -> MemoryRepository {
        let mut repository = MemoryRepository::default();
        for (file, bytes) in files {
            repository.insert(file, bytes);
        }
        repository
    }

    /// Weights of ordinary size everywhere; the routers' are BF16 already, because a BF16 file has no others.
    fn weights(layout: &Layout) -> Vec<f32> {
        let mut random = fastrand::Rng::with_seed(9);
        let mut weights = layout.initial(4);
        for (parameter, range) in &layout.parameters {
            for weight in &mut weights[range.clone()] {
                *weight += (random.f32() - 0.5) * 0.2;
                if parameter.kind == ParameterKind::Router {
                    *weight = bf16::from_f32(*weight).to_f32();
                }
            }
        }
        weights
    }

    fn exported(int4: bool) -> (Layout, Vec<f32>, Checkpoint<MemoryRepository>) {
        let layout = Layout::new(shape::TEST.config(false));
        let weights = weights(&layout);
        let mut vocabulary = Vocabulary::learn(1024, 1).unwrap();
        vocabulary.files.clear();
        let files = files(&layout, shape::TEST, &vocabulary, &weights, int4);
        let checkpoint = block_on(Checkpoint::open(repository(files))).unwrap();
        (layout, weights, checkpoint)
    }

    #[derive(Default)]
    struct Collected(HashMap<String, Vec<u8>>);

    impl TensorSink for Collected {
        async fn write(&mut self, tensor: &str, offset_bytes: u64, bytes: &[u8]) -> mobilemoe_web::Result<()> {
            let whole = self.0.entry(tensor.into()).or_default();
            whole.resize(whole.len().max(offset_bytes as usize + bytes.len()), 0);
            whole[offset_bytes as usize..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
    }

    #[test]
    fn int4_is_what_the_engine_makes_of_bf16() {
        let [bf16, int4] = [false, true].map(|int4| {
            let (_, _, checkpoint) = exported(int4);
            let mut sink = Collected::default();
            block_on(checkpoint.stream(&mut sink, &mut |_, _| ())).unwrap();
            sink.0
        });
        assert_eq!(bf16.len(), int4.len());
        for (tensor, bytes) in &bf16 {
            assert!(bytes == &int4[tensor], "{tensor}");
        }
    }

    #[test]
    fn the_reference_agrees_with_the_trainer() {
        let (layout, weights, checkpoint) = exported(true);
        let reference = block_on(Reference::load(&checkpoint, false)).unwrap();
        let mut random = fastrand::Rng::with_seed(2);
        let ids: Vec<u32> = (0..200).map(|_| random.u32(..shape::TEST.vocab as u32)).collect();
        let learned = vec![true; ids.len()];
        let mut batch = Batch::default();
        batch.push(&ids, &learned);
        let ours = Pass::new(&layout).loss(&quantized(&layout, &weights, 2), &batch);
        let (theirs, _) = reference_loss(&reference, &ids, &learned);
        assert_eq!(ours.learned_tokens, 199);
        assert!((ours.loss - theirs).abs() < 1e-3 * theirs, "{} {theirs}", ours.loss);
    }
}
