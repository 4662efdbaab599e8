//! How the KV cache stores its numbers: rows of one head of one position, as `shaders/shared/cached*.wgsl` read them.

use half::f16;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvFormat {
    /// A byte a number and a scale (f32) for a row: half the memory of 16 bits.
    I8,
    /// Two bytes a number: what phones get.
    #[default]
    F16,
    /// Four bytes a number: for exact comparisons.
    F32,
}

impl KvFormat {
    pub fn bits(self) -> usize {
        match self {
            KvFormat::I8 => 8,
            KvFormat::F16 => 16,
            KvFormat::F32 => 32,
        }
    }

    /// One key or value head of one position.
    pub fn row_bytes(self) -> usize {
        match self {
            KvFormat::I8 => 4 + 64,
            KvFormat::F16 => 2 * 64,
            KvFormat::F32 => 4 * 64,
        }
    }

    /// Rows of 64 values as stored. Bytes are nearest multiples of largest / 127, ties to even.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            KvFormat::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            KvFormat::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            KvFormat::I8 => (values.chunks_exact(64))
                .flat_map(|row| {
                    let largest = row.iter().fold(1e-20_f32, |largest, x| largest.max(x.abs()));
                    let scale = largest / 127.0;
                    let bytes = row.iter().map(move |x| (x / scale).round_ties_even() as i8 as u8);
                    scale.to_le_bytes().into_iter().chain(bytes)
                })
                .collect(),
        }
    }

    /// What stored rows stand for.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let word = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        match self {
            KvFormat::F32 => bytes.chunks_exact(4).map(word).collect(),
            KvFormat::F16 => (bytes.chunks_exact(2))
                .map(|half| f16::from_le_bytes([half[0], half[1]]).to_f32())
                .collect(),
            KvFormat::I8 => (bytes.chunks_exact(self.row_bytes()))
                .flat_map(|row| row[4..].iter().map(move |byte| word(&row[..4]) * *byte as i8 as f32))
                .collect(),
        }
    }
}
