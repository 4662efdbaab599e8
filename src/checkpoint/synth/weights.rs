//! Random weights that behave like trained ones where it matters to an engine.
//!
//! Every matrix is gaussian with a standard deviation that keeps activations at ordinary size: inputs are normed, so a
//! matrix with std gain / sqrt(inputs) has outputs of std gain. What is added to the residual stream sums up to a std of
//! about 1 after the last layer, logits have a std of about 2.
//!
//! Only additions, multiplications and square roots are used: they are exact everywhere, so a seed means the same bytes
//! on every machine.

use fastrand::Rng;
use half::{bf16, f16};

use crate::checkpoint::{Dtype, Parameter, ParameterKind, TensorSpec};

const PIECE_BYTES: u64 = 1 << 20;

/// Standard deviation of the INT4 codes: the largest of 32 then lies near 8, as it does in quantized weights.
const CODE_STD: f32 = 3.4;

/// Fills a piece of a tensor, going on where the last piece ended.
type Fill = Box<dyn FnMut(&mut [u8])>;

/// A tensor's bytes, made piece by piece.
pub(super) struct Pieces {
    fill: Fill,
    buffer: Vec<u8>,
    left_bytes: u64,
}

impl Pieces {
    /// The next bytes; empty at the end.
    pub fn next(&mut self) -> &[u8] {
        let piece = &mut self.buffer[..self.left_bytes.min(PIECE_BYTES) as usize];
        (self.fill)(piece);
        self.left_bytes -= piece.len() as u64;
        piece
    }
}

pub(super) struct Generator {
    seed: u64,
    /// Draws from the standard normal distribution, sorted, symmetric.
    gaussian: Vec<f32>,
    /// What a random byte becomes: a code from -8 to 7 as a nibble.
    nibbles: [u8; 256],
    /// Standard deviation of those codes.
    code_std: f32,
    /// Std of what one sub-layer adds to the residual stream.
    branch_std: f32,
}

impl Generator {
    pub fn new(seed: u64, layers: usize) -> Generator {
        let gaussian = gaussian_table();
        let step = gaussian.len() / 256;
        // 256 quantiles; each bucket's value is the mean of its two middle draws, which keeps the symmetry.
        let quantile = |i: usize| (gaussian[i * step + step / 2 - 1] + gaussian[i * step + step / 2]) * 0.5;
        let codes: [f32; 256] = std::array::from_fn(|i| (quantile(i) * CODE_STD).round_ties_even().clamp(-8.0, 7.0));
        let code_std = (codes.iter().map(|code| code * code).sum::<f32>() / 256.0).sqrt();
        // A layer adds three branches: attention, the shared expert, the routed experts.
        let branch_std = 1.0 / (3.0 * layers as f32).sqrt();
        Generator {
            seed,
            gaussian,
            nibbles: codes.map(|code| code as i8 as u8 & 15),
            code_std,
            branch_std,
        }
    }

    /// The bytes of one of the parameter's tensors. They depend on the seed and the tensor's name alone.
    pub fn pieces(&self, parameter: &Parameter, tensor: &TensorSpec) -> Pieces {
        let mut random = Rng::with_seed(self.seed ^ fnv1a(&tensor.name));
        let std = self.std(parameter);
        let fill: Fill = match (tensor.dtype, parameter.kind) {
            (Dtype::U8, _) => {
                let nibbles = self.nibbles;
                Box::new(move |piece| fill_codes(&mut random, &nibbles, piece))
            }
            (Dtype::F16, _) => {
                // A group's scale is within a quarter of the mean.
                let scale = |i: usize| std / self.code_std * (0.75 + 0.5 * i as f32 / 255.0);
                let table: Vec<[u8; 2]> = (0..256).map(|i| f16::from_f32(scale(i)).to_le_bytes()).collect();
                Box::new(move |piece| fill_from(&mut random, &table, piece))
            }
            (Dtype::F32, _) => {
                let table: Vec<[u8; 4]> = self.gaussian.iter().map(|value| (value * std).to_le_bytes()).collect();
                Box::new(move |piece| fill_from(&mut random, &table, piece))
            }
            (_, kind) => {
                let norm = kind == ParameterKind::Vector && parameter.name.ends_with("norm.weight");
                let center = if norm { 1.0 } else { 0.0 };
                let value = |value: &f32| bf16::from_f32(center + value * std).to_le_bytes();
                let table: Vec<[u8; 2]> = self.gaussian.iter().map(value).collect();
                Box::new(move |piece| fill_from(&mut random, &table, piece))
            }
        };
        let left_bytes = tensor.len_bytes();
        Pieces {
            fill,
            buffer: vec![0; left_bytes.min(PIECE_BYTES) as usize],
            left_bytes,
        }
    }

    /// The standard deviation of a parameter's weights.
    fn std(&self, parameter: &Parameter) -> f32 {
        let name = parameter.name.as_str();
        let gain = if parameter.kind == ParameterKind::Vector {
            return if name.ends_with("expert_bias") { 0.02 } else { 0.1 };
        } else if name.ends_with("embed_tokens.weight") || name.ends_with("lm_head.weight") {
            2.0
        } else if name.ends_with("o_proj.weight") {
            // Averaging over the context makes values smaller.
            1.6 * self.branch_std
        } else if name.ends_with("experts.down_proj") {
            // silu(gate) * up of unit inputs has a std of 0.6; the four experts' weights add up to 2.5.
            self.branch_std / (0.6 * 1.25)
        } else if name.ends_with("down_proj.weight") {
            self.branch_std / 0.6
        } else {
            1.0
        };
        // [out, in] and [experts, in, out] alike.
        gain / (parameter.shape[1] as f32).sqrt()
    }
}

/// Fills with random codes, two a byte.
fn fill_codes(random: &mut Rng, nibbles: &[u8; 256], piece: &mut [u8]) {
    for bytes in piece.chunks_mut(4) {
        let bits = random.u64(..).to_le_bytes();
        for (byte, pair) in bytes.iter_mut().zip(bits.as_chunks::<2>().0) {
            *byte = nibbles[pair[0] as usize] | nibbles[pair[1] as usize] << 4;
        }
    }
}

/// Fills with random elements of a table of 256 or 4096.
fn fill_from<const N: usize>(random: &mut Rng, table: &[[u8; N]], piece: &mut [u8]) {
    for values in piece.chunks_mut(4 * N) {
        let mut bits = random.u64(..);
        for value in values.chunks_mut(N) {
            value.copy_from_slice(&table[bits as usize % table.len()][..value.len()]);
            bits >>= 16;
        }
    }
}

/// 4096 standard normal draws, by the sum of twelve uniform ones (Irwin-Hall); each with its negative, sorted.
fn gaussian_table() -> Vec<f32> {
    let mut random = Rng::with_seed(0x6d6f_6269_6c65_6d6f);
    let mut draw = || {
        (0..12)
            .map(|_| (random.u32(..) >> 8) as f32 / (1u32 << 24) as f32)
            .sum::<f32>()
            - 6.0
    };
    let half: Vec<f32> = (0..2048).map(|_| draw()).collect();
    let std = (half.iter().map(|value| value * value).sum::<f32>() / half.len() as f32).sqrt();
    let mut table: Vec<f32> = half.iter().flat_map(|value| [value / std, -value / std]).collect();
    table.sort_by(f32::total_cmp);
    table
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}
