//! Weights as the CPU twins read them.

use half::{bf16, f16};

use crate::config::{LayerConfig, ModelConfig};

/// A matrix in its stored form, read row by row as f32. Expert stacks `[E, in, out]` count as `[E * in, out]`.
#[derive(Debug, Clone, Copy)]
pub enum Matrix<'a> {
    /// Packed nibbles `[rows, columns / 2]` and f16 scales `[rows, columns / 32]`, little-endian.
    Int4 {
        qweight: &'a [u8],
        scale: &'a [u8],
        columns: usize,
    },
    /// BF16 `[rows, columns]`, little-endian.
    Bf16 { values: &'a [u8], columns: usize },
}

impl Matrix<'_> {
    /// One row, dequantized.
    pub fn row(&self, row: usize) -> Vec<f32> {
        match *self {
            Matrix::Int4 {
                qweight,
                scale,
                columns,
            } => {
                let packed = &qweight[row * columns / 2..][..columns / 2];
                let scales = &scale[row * columns / 16..][..columns / 16];
                let mut values = Vec::with_capacity(columns);
                for (group, scale) in packed.chunks_exact(16).zip(scales.chunks_exact(2)) {
                    let scale = f16::from_le_bytes([scale[0], scale[1]]).to_f32();
                    for byte in group {
                        // Two's complement nibbles, the low one first.
                        values.push(((byte << 4) as i8 >> 4) as f32 * scale);
                        values.push((*byte as i8 >> 4) as f32 * scale);
                    }
                }
                values
            }
            Matrix::Bf16 { values, columns } => bf16_values(&values[2 * row * columns..][..2 * columns]),
        }
    }

    /// y `[tokens, rows]` = x `[tokens, columns]` W^T for the `rows` first rows of W: a linear layer.
    pub fn linear(&self, x: &[f32], rows: usize) -> Vec<f32> {
        let columns = match *self {
            Matrix::Int4 { columns, .. } | Matrix::Bf16 { columns, .. } => columns,
        };
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

    /// y += x W for the rows `first_row ..` of W, one for each value of x: an expert's `[in, out]` matrix.
    pub fn accumulate(&self, first_row: usize, x: &[f32], y: &mut [f32]) {
        for (i, x) in x.iter().enumerate() {
            for (y, weight) in y.iter_mut().zip(self.row(first_row + i)) {
                *y += x * weight;
            }
        }
    }
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
    pub fn new(config: &ModelConfig, layer: LayerConfig, raw: &dyn Fn(&str) -> &'a [u8]) -> LayerTensors<'a> {
        let (hidden, expert) = (config.hidden_size, config.expert_size);
        let quantized = config.weights == crate::config::WeightFormat::Int4G32;
        let linear = |name: &str, columns| {
            if quantized {
                let (qweight, scale) = (raw(&format!("{name}.qweight")), raw(&format!("{name}.weight_scale")));
                Matrix::Int4 {
                    qweight,
                    scale,
                    columns,
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
