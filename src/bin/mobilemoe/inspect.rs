//! `mobilemoe inspect`: what a checkpoint is, and what is wrong with it.

use std::{fmt::Write, path::PathBuf};

use clap::Args;
use mobilemoe_web::{
    ModelConfig, Result,
    checkpoint::{Checkpoint, CheckpointError, DirectoryRepository, Parameter, parameters},
    config::{LayerConfig, WeightFormat},
};
use pollster::block_on;
use serde_json::{Value, json};

use crate::terminal::{bold, print, short_bytes, short_count, thousands};

/// Show a checkpoint's config, tensors, parameter counts and problems.
///
/// Reads config.json and the headers only; exits with 1 if anything is wrong. Parameters are counted as published: a tied
/// embedding once, norms and routers included; active are all but the routed experts that are not chosen.
#[derive(Args)]
pub struct Inspect {
    /// A directory with config.json and safetensors files
    dir: PathBuf,
    /// Everything, as JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(self) -> Result<()> {
        let checkpoint = block_on(Checkpoint::examine(DirectoryRepository::new(&self.dir)))?;
        let report = Report::of(&checkpoint);
        let text = match self.json {
            true => format!("{:#}\n", self.json(&checkpoint, &report)),
            false => self.text(&checkpoint, &report),
        };
        print(&text)?;
        match checkpoint.problems().first() {
            Some(problem) => Err(problem.clone().into()),
            None => Ok(()),
        }
    }

    fn json(&self, checkpoint: &Checkpoint<DirectoryRepository>, report: &Report) -> Value {
        let config = checkpoint.config();
        let tensor = |tensor: &mobilemoe_web::checkpoint::TensorInfo| {
            json!({
                "name": tensor.name, "dtype": tensor.dtype, "shape": tensor.shape,
                "file": checkpoint.files()[tensor.file], "offset_bytes": tensor.offset_bytes, "len_bytes": tensor.len_bytes,
            })
        };
        let layer = |layer: &LayerConfig| json!({"rope": layer.rope, "moe": layer.moe, "sliding_window": layer.window});
        let problem = |problem: &CheckpointError| json!({"code": problem.code(), "message": problem.to_string()});
        json!({
            "path": self.dir,
            "config": {
                "weights": weights(config),
                "vocab_size": config.vocab_size,
                "hidden_size": config.hidden_size,
                "expert_size": config.expert_size,
                "shared_size": config.shared_size,
                "layers": config.layers.iter().map(layer).collect::<Vec<_>>(),
                "query_heads": config.query_heads,
                "kv_heads": config.kv_heads,
                "head_dim": config.head_dim,
                "max_positions": config.max_positions,
                "experts": config.experts,
                "experts_per_token": config.experts_per_token,
                "tied_embeddings": config.tied_embeddings,
                "bos_token_id": config.bos_token_id,
                "eos_token_ids": config.eos_token_ids,
            },
            "parameters": {"total": report.total, "active": report.active},
            "bytes": checkpoint.total_bytes(),
            "files": checkpoint.files(),
            "tensors": checkpoint.tensors().iter().map(tensor).collect::<Vec<_>>(),
            "extra_tensors": checkpoint.extra_tensors().map(|tensor| &tensor.name).collect::<Vec<_>>(),
            "problems": checkpoint.problems().iter().map(problem).collect::<Vec<_>>(),
        })
    }

    fn text(&self, checkpoint: &Checkpoint<DirectoryRepository>, report: &Report) -> String {
        let config = checkpoint.config();
        let mut out = format!("{}\n", bold(&self.dir.display().to_string()));
        for (label, value) in summary(checkpoint, report) {
            let _ = writeln!(out, "  {label:<12} {value}");
        }
        for (title, per_layer) in [("Outside the layers", false), ("In each layer", true)] {
            let _ = writeln!(out, "\n{}", bold(title));
            let layers = config.layers.len();
            for row in report.rows.iter().filter(|row| row.per_layer == per_layer) {
                let count = if row.count == layers || !per_layer {
                    String::new()
                } else {
                    format!("x{}", row.count)
                };
                let (name, shape) = (&row.name, format!("{:?}", row.shape));
                let (weights, bytes) = (short_count(row.weights), short_bytes(row.bytes));
                let line = format!(
                    "  {name:<34} {:<4} {shape:<15} {weights:>6} {bytes:>8} {count:>3}",
                    row.stored
                );
                let _ = writeln!(out, "{}", line.trim_end());
            }
        }
        let extra: Vec<&str> = checkpoint.extra_tensors().map(|tensor| tensor.name.as_str()).collect();
        if !checkpoint.problems().is_empty() || !extra.is_empty() {
            let _ = writeln!(out, "\n{}", bold("Problems"));
        }
        for problem in checkpoint.problems() {
            let _ = writeln!(out, "  {problem} [{}]", problem.code());
        }
        for name in extra {
            let _ = writeln!(out, "  tensor `{name}` is not one of this model; it is skipped");
        }
        out
    }
}

fn weights(config: &ModelConfig) -> &'static str {
    match config.weights {
        WeightFormat::Int4G32 => mobilemoe_web::config::INT4_FORMAT,
        WeightFormat::Bf16 => "bfloat16",
    }
}

fn summary(checkpoint: &Checkpoint<DirectoryRepository>, report: &Report) -> Vec<(&'static str, String)> {
    let config = checkpoint.config();
    let layers = config.layers.len();
    let (moe, rope) = config.layers.iter().fold((0, 0), |(moe, rope), layer| {
        (moe + usize::from(layer.moe), rope + usize::from(layer.rope))
    });
    let of_layers = |count: usize| match count {
        0 => "none".to_string(),
        _ if count == layers => "all".to_string(),
        _ => count.to_string(),
    };
    let windows: Vec<usize> = config.layers.iter().filter_map(|layer| layer.window).collect();
    let sliding = windows.first().map_or(String::new(), |window| {
        format!("; {} layers see {window} tokens", windows.len())
    });
    let experts = match config.experts {
        0 => format!("none; feed-forward of width {}", config.shared_size),
        experts => format!(
            "{experts} of width {}, {} a token; shared: {}",
            config.expert_size, config.experts_per_token, config.shared_size
        ),
    };
    let scaling = config
        .rope_scaling
        .map_or(String::new(), |scaling| format!(", llama3 scaling x{}", scaling.factor));
    let files = checkpoint.files().len();
    let bytes = format!(
        "{} bytes in {files} file{}",
        thousands(checkpoint.total_bytes()),
        if files == 1 { "" } else { "s" }
    );
    let head = if config.tied_embeddings {
        "the LM head is the embedding"
    } else {
        "an LM head of its own"
    };
    let ids = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    vec![
        (
            "parameters",
            format!("{}, {} active", short_count(report.total), short_count(report.active)),
        ),
        ("weights", format!("{}, {bytes}", weights(config))),
        (
            "layers",
            format!(
                "{layers}: {} with routed experts, {} with RoPE",
                of_layers(moe),
                of_layers(rope)
            ),
        ),
        ("hidden size", config.hidden_size.to_string()),
        (
            "attention",
            format!(
                "{} query heads, {} KV heads of {}{sliding}",
                config.query_heads, config.kv_heads, config.head_dim
            ),
        ),
        ("experts", experts),
        ("vocabulary", format!("{}; {head}", thousands(config.vocab_size as u64))),
        (
            "positions",
            format!(
                "{}; RoPE theta {}{scaling}",
                thousands(config.max_positions as u64),
                config.rope_theta
            ),
        ),
        (
            "begin, end",
            format!(
                "{}; {}",
                ids(config.bos_token_id.as_slice()),
                ids(&config.eos_token_ids)
            ),
        ),
    ]
}

struct Report {
    total: u64,
    active: u64,
    rows: Vec<Row>,
}

/// A parameter, or that of all layers under one name.
struct Row {
    name: String,
    per_layer: bool,
    stored: &'static str,
    /// Of one layer's.
    shape: Vec<u64>,
    /// How many layers have it.
    count: usize,
    weights: u64,
    /// In the files, scales included.
    bytes: u64,
}

impl Report {
    fn of(checkpoint: &Checkpoint<DirectoryRepository>) -> Report {
        let config = checkpoint.config();
        let parameters = parameters(config);
        let mut rows: Vec<Row> = Vec::new();
        for parameter in &parameters {
            let name = short_name(parameter);
            let (weights, bytes) = (parameter.elements(), stored_bytes(checkpoint, parameter));
            let per_layer = parameter.layer.is_some();
            match rows
                .iter_mut()
                .find(|row| row.per_layer == per_layer && row.name == name)
            {
                Some(row) => {
                    row.count += 1;
                    row.weights += weights;
                    row.bytes += bytes;
                }
                None => {
                    let (stored, shape) = (stored_as(checkpoint, parameter), parameter.shape.clone());
                    rows.push(Row {
                        name,
                        per_layer,
                        stored,
                        shape,
                        count: 1,
                        weights,
                        bytes,
                    });
                }
            }
        }
        let total = parameters.iter().map(Parameter::elements).sum();
        let active = parameters
            .iter()
            .map(|parameter| parameter.active_elements(config))
            .sum();
        Report { total, active, rows }
    }
}

/// Without what all names have in common.
fn short_name(parameter: &Parameter) -> String {
    let prefix = parameter
        .layer
        .map_or("model.".to_string(), |layer| format!("model.layers.{layer}."));
    let name = parameter.name.strip_prefix(&prefix).unwrap_or(&parameter.name);
    name.trim_end_matches(".weight")
        .replace("feed_forward.", "")
        .replace("self_attn.", "")
}

fn stored_as(checkpoint: &Checkpoint<DirectoryRepository>, parameter: &Parameter) -> &'static str {
    match (parameter.int4_names(), checkpoint.tensor(&parameter.name)) {
        (Some(_), _) if checkpoint.config().weights == WeightFormat::Int4G32 => "INT4",
        (None, Some(tensor)) if tensor.dtype == mobilemoe_web::checkpoint::Dtype::F32 => "F32",
        _ => "BF16",
    }
}

fn stored_bytes(checkpoint: &Checkpoint<DirectoryRepository>, parameter: &Parameter) -> u64 {
    checkpoint
        .stored_tensors(parameter)
        .map(|tensor| tensor.len_bytes)
        .sum()
}
