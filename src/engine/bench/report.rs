//! What a benchmark found.

use serde::Serialize;

use super::Fill;
use crate::{gpu::KernelTime, kernels::KvFormat};

/// What was measured. As JSON it is what `mobilemoe bench --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    pub adapter: String,
    pub backend: String,
    /// The kernels in use.
    pub variant: String,
    pub kv: KvFormat,
    /// Prompt tokens in one submit.
    pub chunk_tokens: usize,
    /// Of the first prompt length and stream.
    pub prefill_tokens_per_s: Option<f64>,
    /// At the first context.
    pub decode_ms_per_token: Option<f64>,
    #[serde(flatten)]
    pub per_token: Option<PerToken>,
    /// Weights that a decoded token's kernels touch, each once, as they are stored.
    pub weight_bytes_per_token: u64,
    /// INT4 codes and scales of the active weights.
    pub min_weight_bytes_per_token: u64,
    /// What a kernel reaches that reads all weights and does nothing else: what decoding is to be held against.
    pub read_gb_per_s: f64,
    pub weight_bytes: u64,
    /// Weights, activations and the cache at its largest.
    pub gpu_bytes: u64,
    pub prefill: Vec<PrefillFigure>,
    pub decode: Vec<DecodeFigure>,
    pub profile: Option<Profile>,
    /// The caller ended it early.
    pub aborted: bool,
}

/// What one decoded token asks of the GPU in steady state, counted over the decode runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PerToken {
    pub dispatches_per_token: f64,
    pub passes_per_token: f64,
    pub submits_per_token: f64,
    pub readback_bytes_per_token: f64,
    pub buffer_writes_per_token: f64,
    pub bind_groups_created_per_token: f64,
    pub buffers_created_per_token: f64,
}

/// Several runs of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrefillFigure {
    pub prompt_tokens: usize,
    pub stream: String,
    /// Fewer than `prompt_tokens` if time ran out: then the rate is that of the first ones.
    pub measured_tokens: usize,
    /// From the call to the first token's id on the host.
    pub tokens_per_s: Spread,
    /// Different experts that the last pass used in a layer, on average, and that pass's tokens.
    pub experts_used: f64,
    pub experts_used_by_tokens: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecodeFigure {
    /// Tokens in the cache before the first one decoded.
    pub context: usize,
    pub fill: Fill,
    pub tokens: usize,
    pub ms_per_token: Spread,
    /// Weights and cache read, over the time.
    pub gb_per_s: f64,
}

/// GPU time by kernel. Each dispatch runs in a pass of its own for it, so the sum may exceed an unprofiled step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// One token after `decode_context`.
    pub decode: Vec<KernelProfile>,
    pub decode_context: usize,
    /// One pass of `prefill_tokens`, and the first token's choice.
    pub prefill: Vec<KernelProfile>,
    pub prefill_tokens: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelProfile {
    pub kernel: &'static str,
    pub dispatches: f64,
    pub ms: f64,
    /// Weights and cache read, in decode.
    pub bytes: Option<u64>,
    pub gb_per_s: Option<f64>,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(mut runs: Vec<f64>) -> Option<Spread> {
        runs.sort_by(f64::total_cmp);
        let middle = runs.len() / 2;
        let median = match runs.len() % 2 {
            0 => runs.get(middle.checked_sub(1)?..=middle)?.iter().sum::<f64>() / 2.0,
            _ => runs[middle],
        };
        Some(Spread {
            median,
            min: runs[0],
            max: runs[runs.len() - 1],
            runs: runs.len(),
        })
    }
}

impl KernelProfile {
    /// Of one of `steps` equal steps.
    pub(super) fn of(time: &KernelTime, steps: usize, bytes: Option<u64>) -> KernelProfile {
        let ms = time.ms / steps as f64;
        KernelProfile {
            kernel: time.kernel,
            dispatches: time.dispatches as f64 / steps as f64,
            ms,
            bytes,
            gb_per_s: bytes.filter(|_| ms > 0.0).map(|bytes| bytes as f64 / ms / 1e6),
        }
    }
}

pub(super) fn by_time(mut kernels: Vec<KernelProfile>) -> Vec<KernelProfile> {
    kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    kernels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        assert_eq!(Spread::of(vec![]), None);
        let of = |runs: &[f64]| Spread::of(runs.to_vec()).map(|s| (s.median, s.min, s.max, s.runs));
        assert_eq!(of(&[3.0]), Some((3.0, 3.0, 3.0, 1)));
        assert_eq!(of(&[5.0, 1.0, 2.0]), Some((2.0, 1.0, 5.0, 3)));
        assert_eq!(of(&[4.0, 1.0, 2.0, 8.0]), Some((3.0, 1.0, 8.0, 4)));
    }
}
