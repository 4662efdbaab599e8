//! Checkpoints: what opens, what streams, and what each kind of damage is called.

use std::collections::BTreeMap;

use mobilemoe_web::{
    Result,
    checkpoint::{Checkpoint, DirectoryRepository, Repository, TensorSink, runtime_tensors},
    config::WeightFormat,
};
use pollster::block_on;

/// Keeps everything it is given, and holds the pieces to what [`TensorSink`] promises.
#[derive(Default, PartialEq)]
struct Collected(BTreeMap<String, Vec<Option<u8>>>);

impl Collected {
    fn of<R: Repository>(checkpoint: &Checkpoint<R>) -> Result<Collected> {
        let mut sink = Collected::default();
        for spec in runtime_tensors(checkpoint.config()) {
            let length = spec.len_bytes() as usize;
            sink.0.insert(spec.name, vec![None; length]);
        }
        let mut last = 0;
        block_on(checkpoint.stream(&mut sink, &mut |done, total| {
            assert!(done >= last && done <= total && total == checkpoint.total_bytes());
            last = done;
        }))?;
        assert_eq!(last, checkpoint.total_bytes());
        Ok(sink)
    }

    /// A tensor's bytes; panics if some never came.
    fn bytes(&self, tensor: &str) -> Vec<u8> {
        self.0[tensor]
            .iter()
            .map(|byte| byte.expect("every byte was written"))
            .collect()
    }
}

impl TensorSink for Collected {
    async fn write(&mut self, tensor: &str, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let slots = self.0.get_mut(tensor).expect("a runtime tensor");
        let (begin, end) = (offset_bytes as usize, offset_bytes as usize + bytes.len());
        assert!(
            begin.is_multiple_of(4) && (end.is_multiple_of(4) || end == slots.len()),
            "{tensor} {begin}..{end}"
        );
        for (slot, byte) in slots[begin..end].iter_mut().zip(bytes) {
            assert!(slot.replace(*byte).is_none(), "{tensor}: written twice");
        }
        Ok(())
    }
}

fn fixture(name: &str) -> DirectoryRepository {
    DirectoryRepository::new(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn published_int4_files_stream_as_they_are() {
    for name in ["tiny-a", "tiny-c"] {
        let checkpoint = block_on(Checkpoint::open(fixture(name))).unwrap();
        assert_eq!(checkpoint.config().weights, WeightFormat::Int4G32);
        assert_eq!(checkpoint.extra_tensors().count(), 0);
        let streamed = Collected::of(&checkpoint).unwrap();
        assert_eq!(streamed.0.len(), checkpoint.tensors().len());
        for tensor in checkpoint.tensors() {
            let stored = block_on(checkpoint.read_raw(&tensor.name)).unwrap();
            assert!(streamed.bytes(&tensor.name) == stored, "{}", tensor.name);
        }
    }
}

#[test]
fn bf16_files_are_quantized_on_the_way() {
    let checkpoint = block_on(Checkpoint::open(fixture("tiny-a-sft"))).unwrap();
    assert_eq!(checkpoint.config().weights, WeightFormat::Bf16);
    let streamed = Collected::of(&checkpoint).unwrap();
    for name in streamed.0.keys() {
        streamed.bytes(name);
    }
}
