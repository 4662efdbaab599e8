//! Weights as the CPU twins read them.

use half::{bf16, f16};

use super::Inputs;
use crate::config::{LayerConfig, ModelConfig};

/// A matrix in its stored form, read row by row as f32. Expert stacks `[E, in, out]` count as `[E * in, out]`.
#[derive(Debug, Clone, Copy)]
pub enum Matrix<'a> {
    /// Packed nibbles `[rows, columns / 2]` and f16 scales `[rows, columns / 32]`, little-endian. Inputs are rounded as
    /// `inputs` says before they are multiplied.
    Int4 {
        qweight: &'a [u8],
        scale: &'a [u8],
        columns: usize,
        inputs: Inputs,
    },
    /// BF16 `[rows, columns]`, little-endian.
    Bf16 { values: &'a [u8], columns: usize },
}

impl Matrix<'_> {
    /// One row, dequantized.
    pub fn row(&self, row: usize) -> Vec<f32> {
        match *self {
            Matrix::Int4 { .. } => {
                let (codes, scales) = self.codes(row);
                let groups = codes.chunks_exact(32).zip(scales);
                groups
                    .flat_map(|(codes, scale)| codes.iter().map(move |code| code * scale))
                    .collect()
            }
            Matrix::Bf16 { values, columns } => bf16_values(&values[2 * row * columns..][..2 * columns]),
        }
    }

    /// One row of an INT4 matrix: codes from -8 to 7, and a scale for 32 of them. None of another.
    fn codes(&self, row: usize) -> (Vec<f32>, Vec<f32>) {
        let Matrix::Int4 {
            qweight,
            scale,
            columns,
            ..
        } = *self
        else {
            return Default::default();
        };
        // Two's complement nibbles, the low one first.
        let packed = &qweight[row * columns / 2..][..columns / 2];
        let nibbles = |byte: &u8| [((byte << 4) as i8 >> 4) as f32, (*byte as i8 >> 4) as f32];
        let scales = &scale[row * columns / 16..][..columns / 16];
        let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        (
            packed.iter().flat_map(nibbles).collect(),
            scales.chunks_exact(2).map(half).collect(),
        )
    }

    /// The same bytes, for inputs kept like this.
    pub fn with_inputs(self, inputs: Inputs) -> Self {
        match self {
            Matrix::Int4 {
                qweight,
                scale,
                columns,
                ..
            } => Matrix::Int4 {
                qweight,
                scale,
                columns,
                inputs,
            },
            bf16 => bf16,
        }
    }

    /// y `[tokens, rows]` = x `[tokens, columns]` W^T for the `rows` first rows of W: a linear layer.
    pub fn linear(&self, x: &[f32], rows: usize) -> Vec<f32> {
        let (columns, inputs) = match *self {
            Matrix::Int4 { columns, inputs, .. } => (columns, inputs),
            Matrix::Bf16 { columns, .. } => (columns, Inputs::F32),
        };
        let x = kept(x, inputs);
        let tokens = x.len() / columns;
        let mut y = vec![0.0; tokens * rows];
        for row in 0..rows {
            let weights = self.row(row);
            for (token, x) in x.chunks_exact(columns).enumerate() {
                y[token * rows + row] = dot(&weights, x);
            }
        }
        y
    }

    /// y += x W for the rows `first_row ..` of W, one for each value of x: an expert's `[in, out]` matrix. What is rounded
    /// are the inputs times their rows' scales, for each group of 32 outputs.
    pub fn accumulate(&self, first_row: usize, x: &[f32], y: &mut [f32]) {
        if let Matrix::Int4 { inputs, .. } = *self
            && inputs != Inputs::F32
        {
            for (block, x) in x.chunks(32).enumerate() {
                let rows: Vec<_> = (0..x.len()).map(|i| self.codes(first_row + 32 * block + i)).collect();
                for (group, y) in y.chunks_exact_mut(32).enumerate() {
                    let scaled: Vec<f32> = x.iter().zip(&rows).map(|(x, (_, scales))| x * scales[group]).collect();
                    for (x, (codes, _)) in kept(&scaled, inputs).iter().zip(&rows) {
                        for (y, code) in y.iter_mut().zip(&codes[32 * group..]) {
                            *y += x * code;
                        }
                    }
                }
            }
            return;
        }
        for (i, x) in x.iter().enumerate() {
            for (y, weight) in y.iter_mut().zip(self.row(first_row + i)) {
                *y += x * weight;
            }
        }
    }
}

/// Inputs as they are multiplied: rounded, by blocks of 32, to 255 multiples of their largest / 127, or to f16 relative to
/// their largest.
pub fn kept(x: &[f32], inputs: Inputs) -> Vec<f32> {
    let blocks = x.chunks(32).flat_map(|block| {
        let largest = block.iter().fold(1e-30, |largest: f32, x| largest.max(x.abs()));
        block.iter().map(move |x| match inputs {
            Inputs::F32 => *x,
            Inputs::Int8 | Inputs::Packed => (x / (largest / 127.0)).round_ties_even() * (largest / 127.0),
            Inputs::F16 => f16::from_f32(x / largest).to_f32() * largest,
        })
    });
    blocks.collect()
}

/// The FP32 router and the bias that only selects.
#[derive(Debug, Clone)]
pub struct Router {
    /// `[experts, hidden]`
    pub weight: Vec<f32>,
    /// `[experts]`
    pub bias: Vec<f32>,
}

/// One layer's tensors.
pub struct LayerTensors<'a> {
    pub input_norm: Vec<f32>,
    pub q: Matrix<'a>,
    pub k: Matrix<'a>,
    pub v: Matrix<'a>,
    pub o: Matrix<'a>,
    pub post_attention_norm: Vec<f32>,
    /// `None` in a dense layer.
    pub router: Option<Router>,
    /// `[experts * hidden, 2 * expert_size]`, the gate outputs first.
    pub gate_up: Option<Matrix<'a>>,
    /// `[experts * expert_size, hidden]`
    pub down: Option<Matrix<'a>>,
    pub shared_gate: Matrix<'a>,
    pub shared_up: Matrix<'a>,
    pub shared_down: Matrix<'a>,
}

impl<'a> LayerTensors<'a> {
    /// Puts a layer together from its raw tensors: `raw` takes a name without the layer prefix ("self_attn.q_proj.qweight").
    /// `inputs`: how those of its INT4 matrices are kept.
    pub fn new(
        config: &ModelConfig,
        layer: LayerConfig,
        inputs: Inputs,
        raw: &dyn Fn(&str) -> &'a [u8],
    ) -> LayerTensors<'a> {
        let (hidden, expert) = (config.hidden_size, config.expert_size);
        let quantized = config.weights == crate::config::WeightFormat::Int4G32;
        let linear = |name: &str, columns| {
            if quantized {
                let (qweight, scale) = (raw(&format!("{name}.qweight")), raw(&format!("{name}.weight_scale")));
                Matrix::Int4 {
                    qweight,
                    scale,
                    columns,
                    inputs,
                }
            } else {
                Matrix::Bf16 {
                    values: raw(&format!("{name}.weight")),
                    columns,
                }
            }
        };
        let experts = |name: &str, columns| {
            let name = format!("feed_forward.experts.{name}");
            if quantized {
                let (qweight, scale) = (raw(&format!("{name}_qweight")), raw(&format!("{name}_scale")));
                Matrix::Int4 {
                    qweight,
                    scale,
                    columns,
                    inputs,
                }
            } else {
                Matrix::Bf16 {
                    values: raw(&format!("{name}_proj")),
                    columns,
                }
            }
        };
        let swiglu = layer.swiglu();
        LayerTensors {
            input_norm: bf16_values(raw("input_layernorm.weight")),
            q: linear("self_attn.q_proj", hidden),
            k: linear("self_attn.k_proj", hidden),
            v: linear("self_attn.v_proj", hidden),
            o: linear("self_attn.o_proj", config.query_heads * config.head_dim),
            post_attention_norm: bf16_values(raw("post_attention_layernorm.weight")),
            router: layer.moe.then(|| Router {
                weight: (raw("feed_forward.router.weight").chunks_exact(4))
                    .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
                    .collect(),
                bias: bf16_values(raw("feed_forward.expert_bias")),
            }),
            gate_up: layer.moe.then(|| experts("gate_up", 2 * expert)),
            down: layer.moe.then(|| experts("down", hidden)),
            shared_gate: linear(&format!("{swiglu}.gate_proj"), hidden),
            shared_up: linear(&format!("{swiglu}.up_proj"), hidden),
            shared_down: linear(&format!("{swiglu}.down_proj"), config.shared_size),
        }
    }
}

/// BF16 bytes -> f32.
pub(crate) fn bf16_values(bytes: &[u8]) -> Vec<f32> {
    bytes
        .chunks_exact(2)
        .map(|bytes| bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32())
        .collect()
}

/// Sum of products, in eight running sums so that the compiler may use vector registers.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// 1 / sqrt(mean(x^2) + eps)
pub fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// x / rms(x) * weight, for each row of `x`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut normalised = Vec::with_capacity(x.len());
    for row in x.chunks_exact(weight.len()) {
        let scale = inverse_rms(row, eps);
        normalised.extend(row.iter().zip(weight).map(|(x, weight)| x * scale * weight));
    }
    normalised
}

/// x * sigmoid(x)
pub fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}
