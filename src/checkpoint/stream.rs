//! Files -> tensors in the runtime layout, in pieces, strictly in the order of the bytes.

use std::collections::HashMap;

use half::{bf16, f16};

use super::{
    ByteSource, Checkpoint, CheckpointError, Dtype, Repository, TensorInfo,
    int4::{GROUP, quantize_group},
    manifest::{ExpertPart, Role},
};
use crate::Result;

/// How much is read at a time. With the quantized copy beside it, streaming needs about 6 MB however large the model.
pub const PIECE_BYTES: usize = 4 << 20;

/// How much of expert halves (gate or up) that wait for their other halves is kept, in checkpoints with single experts.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// Where [`Checkpoint::stream`] puts the tensors.
#[allow(async_fn_in_trait)]
pub trait TensorSink {
    /// Takes a piece of a tensor of [`runtime_tensors`](super::runtime_tensors), as the published INT4 files store it.
    /// `offset_bytes` counts from the tensor's beginning and is a multiple of 4; so is the piece's length, except at the
    /// tensor's end. A tensor's pieces cover it exactly once; they come in order except in checkpoints that store the
    /// experts one by one.
    async fn write(&mut self, tensor: &str, offset_bytes: u64, bytes: &[u8]) -> Result<()>;
}

impl<R: Repository> Checkpoint<R> {
    /// Reads every file from its first tensor to its end, once, without going back, and hands all tensors to `sink` in
    /// the runtime layout. `progress` is told how many of the files' bytes ([`Checkpoint::total_bytes`]) are done.
    ///
    /// Errors: reading or the sink failed; a weight or scale is infinite or not a number.
    pub async fn stream(&self, sink: &mut impl TensorSink, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.check()?;
        let total_bytes = self.total_bytes();
        let mut done_bytes = 0;
        let mut buffer = Vec::new();
        let mut pieces = Vec::new();
        let mut converter = Converter::default();
        for file in &self.files {
            done_bytes += file.data_offset_bytes;
            progress(done_bytes, total_bytes);

            let mut position = Position {
                tensor: file.tensors.start,
                offset_bytes: 0,
            };
            while position.tensor < file.tensors.end {
                pieces.clear();
                let first_byte = self.tensors()[position.tensor].offset_bytes + position.offset_bytes;
                let length = self.next_pieces(&mut position, file.tensors.end, &mut pieces);
                buffer.resize(length, 0);
                file.source.read(first_byte, &mut buffer).await?;
                let mut rest = buffer.as_slice();
                for piece in &pieces {
                    let (bytes, after) = rest.split_at(piece.length);
                    rest = after;
                    let tensor = Stored {
                        file: &file.name,
                        info: &self.tensors()[piece.tensor],
                    };
                    converter
                        .convert(&tensor, &self.roles[piece.tensor], piece.offset_bytes, bytes, sink)
                        .await?;
                }
                done_bytes += length as u64;
                progress(done_bytes, total_bytes);
            }
        }
        Ok(())
    }

    /// Cuts the next [`PIECE_BYTES`] or a little less into one piece a tensor; their total length.
    fn next_pieces(&self, position: &mut Position, end: usize, pieces: &mut Vec<Piece>) -> usize {
        let mut total = 0;
        while position.tensor < end && total < PIECE_BYTES {
            let left = self.tensors()[position.tensor].len_bytes - position.offset_bytes;
            let unit = match self.roles[position.tensor] {
                Role::Copy { .. } | Role::Widen { .. } | Role::Extra => 4,
                // Two groups: their scales make 4 bytes.
                Role::Quantize { .. } => 2 * 2 * GROUP as u64,
                // Transposed as a whole.
                Role::Expert { .. } => left,
            };
            let room = (PIECE_BYTES - total) as u64;
            let length = match room {
                _ if left <= room => left,
                _ if room >= unit => room - room % unit,
                _ if pieces.is_empty() => unit,
                _ => break,
            };
            pieces.push(Piece {
                tensor: position.tensor,
                offset_bytes: position.offset_bytes,
                length: length as usize,
            });
            total += length as usize;
            position.offset_bytes += length;
            if length == left {
                *position = Position {
                    tensor: position.tensor + 1,
                    offset_bytes: 0,
                };
            }
        }
        total
    }
}

struct Position {
    tensor: usize,
    offset_bytes: u64,
}

struct Piece {
    tensor: usize,
    offset_bytes: u64,
    length: usize,
}

/// A tensor as the file has it, to be named in errors.
struct Stored<'a> {
    file: &'a str,
    info: &'a TensorInfo,
}

impl Stored<'_> {
    fn non_finite(&self, index: u64, value: f32) -> crate::Error {
        let (file, tensor) = (self.file.into(), self.info.name.clone());
        CheckpointError::NonFinite {
            file,
            tensor,
            index,
            value,
        }
        .into()
    }

    /// Refuses infinities and NaNs; `first` is the index of the piece's first value in the tensor.
    fn check_finite(&self, first: u64, bytes: &[u8]) -> Result<()> {
        let bad = match self.info.dtype {
            Dtype::F16 => first_bad(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::BF16 => first_bad(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Dtype::F32 => first_bad(bytes, f32::from_le_bytes),
            _ => None,
        };
        match bad {
            Some((index, value)) => Err(self.non_finite(first + index as u64, value)),
            None => Ok(()),
        }
    }

    /// What is wrong with a group whose scale did not come out finite.
    fn bad_group(&self, group: u64, weights: &[f32; GROUP]) -> crate::Error {
        match weights.iter().position(|weight| !weight.is_finite()) {
            Some(i) => self.non_finite(group * GROUP as u64 + i as u64, weights[i]),
            None => {
                let (file, tensor) = (self.file.into(), self.info.name.clone());
                CheckpointError::ScaleOverflow { file, tensor, group }.into()
            }
        }
    }
}

fn first_bad<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Option<(usize, f32)> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(|&bytes| value(bytes))
        .enumerate()
        .find(|(_, value)| !value.is_finite())
}

/// Stored pieces -> runtime pieces. Keeps its buffers from piece to piece.
#[derive(Default)]
struct Converter {
    qweight: Vec<u8>,
    scale: Vec<u8>,
    /// Gate or up halves whose other half has not come yet, by the name of their packed tensor and the expert.
    waiting: HashMap<(String, u64), Half>,
    waiting_bytes: usize,
}

/// One expert's gate or up matrix, quantized: [in, out / 2] bytes and [in, out / 32] scales.
struct Half {
    qweight: Vec<u8>,
    scale: Vec<u8>,
}

impl Converter {
    async fn convert(
        &mut self,
        tensor: &Stored<'_>,
        role: &Role,
        offset_bytes: u64,
        bytes: &[u8],
        sink: &mut impl TensorSink,
    ) -> Result<()> {
        match role {
            Role::Extra => Ok(()),
            Role::Copy { runtime } => {
                tensor.check_finite(offset_bytes / tensor.info.dtype.bytes(), bytes)?;
                sink.write(runtime, offset_bytes, bytes).await
            }
            Role::Widen { runtime } => {
                tensor.check_finite(offset_bytes / 2, bytes)?;
                self.qweight.clear();
                for value in bytes.as_chunks::<2>().0 {
                    self.qweight.extend(bf16::from_le_bytes(*value).to_f32().to_le_bytes());
                }
                sink.write(runtime, offset_bytes * 2, &self.qweight).await
            }
            Role::Quantize { qweight, scale } => {
                self.clear();
                let first_group = offset_bytes / (2 * GROUP as u64);
                for (i, group) in bytes.as_chunks::<{ 2 * GROUP }>().0.iter().enumerate() {
                    let weights =
                        std::array::from_fn(|j| bf16::from_le_bytes([group[2 * j], group[2 * j + 1]]).to_f32());
                    if !self.push_group(&weights) {
                        return Err(tensor.bad_group(first_group + i as u64, &weights));
                    }
                }
                sink.write(qweight, offset_bytes / 4, &self.qweight).await?;
                sink.write(scale, offset_bytes / GROUP as u64, &self.scale).await
            }
            Role::Expert {
                qweight,
                scale,
                expert,
                part,
            } => {
                self.convert_expert(tensor, bytes)?;
                if *part != ExpertPart::Down && !self.join_halves(tensor, qweight, *expert, *part)? {
                    return Ok(());
                }
                sink.write(qweight, expert * self.qweight.len() as u64, &self.qweight)
                    .await?;
                sink.write(scale, expert * self.scale.len() as u64, &self.scale).await
            }
        }
    }

    fn clear(&mut self) {
        self.qweight.clear();
        self.scale.clear();
    }

    /// Quantizes a group and appends it; false if its scale is not finite.
    fn push_group(&mut self, weights: &[f32; GROUP]) -> bool {
        let (scale, packed) = quantize_group(weights);
        self.qweight.extend(packed);
        self.scale.extend(scale.to_le_bytes());
        scale.is_finite()
    }

    /// One expert's BF16 matrix, stored as [out, in], quantized as [in, out] along out.
    fn convert_expert(&mut self, tensor: &Stored<'_>, bytes: &[u8]) -> Result<()> {
        self.clear();
        let &[outputs, inputs] = tensor.info.shape.as_slice() else {
            return Ok(());
        };
        let (outputs, inputs) = (outputs as usize, inputs as usize);
        let (values, _) = bytes.as_chunks::<2>();
        for input in 0..inputs {
            for first in (0..outputs).step_by(GROUP) {
                let index = |i: usize| (first + i) * inputs + input;
                let weights: [f32; GROUP] = std::array::from_fn(|i| bf16::from_le_bytes(values[index(i)]).to_f32());
                if !self.push_group(&weights) {
                    if let Some(i) = weights.iter().position(|weight| !weight.is_finite()) {
                        return Err(tensor.non_finite(index(i) as u64, weights[i]));
                    }
                    let group = (input * outputs + first) / GROUP;
                    return Err(tensor.bad_group(group as u64, &weights));
                }
            }
        }
        Ok(())
    }

    /// Puts the gate and the up half of an expert side by side, [in, gate then up]; false while one is missing.
    fn join_halves(&mut self, tensor: &Stored<'_>, qweight: &str, expert: u64, part: ExpertPart) -> Result<bool> {
        let key = (qweight.to_string(), expert);
        let (qweight, scale) = (std::mem::take(&mut self.qweight), std::mem::take(&mut self.scale));
        let half = Half { qweight, scale };
        let Some(other) = self.waiting.remove(&key) else {
            self.waiting_bytes += half.qweight.len() + half.scale.len();
            if self.waiting_bytes > MAX_WAITING_BYTES {
                let (file, tensor) = (tensor.file.into(), tensor.info.name.clone());
                return Err(CheckpointError::ExpertHalvesApart {
                    file,
                    tensor,
                    limit_bytes: MAX_WAITING_BYTES,
                }
                .into());
            }
            self.waiting.insert(key, half);
            return Ok(false);
        };
        self.waiting_bytes -= other.qweight.len() + other.scale.len();
        let (gate, up) = if part == ExpertPart::Gate {
            (half, other)
        } else {
            (other, half)
        };
        let inputs = tensor.info.shape[1] as usize;
        interleave_rows(&gate.qweight, &up.qweight, inputs, &mut self.qweight);
        interleave_rows(&gate.scale, &up.scale, inputs, &mut self.scale);
        Ok(true)
    }
}

/// Row i of the result is row i of `left`, then row i of `right`.
fn interleave_rows(left: &[u8], right: &[u8], rows: usize, out: &mut Vec<u8>) {
    out.clear();
    let width = left.len() / rows;
    for (left, right) in left.chunks_exact(width).zip(right.chunks_exact(width)) {
        out.extend_from_slice(left);
        out.extend_from_slice(right);
    }
}
