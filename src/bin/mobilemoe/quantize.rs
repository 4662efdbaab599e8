//! `mobilemoe quantize`: an SFT or Base checkpoint -> the INT4 format of the QAT ones.

use std::{
    collections::HashMap,
    io::{Seek, SeekFrom, Write},
    path::PathBuf,
};

use clap::Args;
use mobilemoe_web::{
    Result,
    checkpoint::{
        CONFIG_FILE, Checkpoint, CheckpointError, DirectoryRepository, TensorSink, WEIGHTS_FILE, read_file,
        runtime_tensors, safetensors::layout,
    },
    config::{ConfigError, WeightFormat, int4_block},
};
use pollster::block_on;

use crate::terminal::{NewFiles, bytes_bar, print, thousands, unwritable};

/// What belongs to a checkpoint besides config and weights.
const COPIED_FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "configuration_mobilemoe.py",
    "modeling_mobilemoe.py",
];

/// Turn a BF16 checkpoint (SFT, Base) into an INT4 one.
///
/// The same weights as an engine makes when it loads the BF16 checkpoint, bit for bit, at a quarter of the download.
#[derive(Args)]
pub struct Quantize {
    /// A directory with config.json and BF16 weights
    bf16_dir: PathBuf,
    /// The directory to make
    out: PathBuf,
}

impl Quantize {
    pub fn run(self) -> Result<()> {
        let checkpoint = block_on(Checkpoint::open(DirectoryRepository::new(&self.bf16_dir)))?;
        if checkpoint.config().weights != WeightFormat::Bf16 {
            let (found, expected) = (
                "there".into(),
                "a checkpoint that is INT4 already cannot be quantized".into(),
            );
            return Err(ConfigError::Field {
                field: "quantization",
                found,
                expected,
            }
            .into());
        }
        let mut files = NewFiles::create(&self.out)?;
        files.append(CONFIG_FILE, self.config(&checkpoint)?.as_bytes())?;
        for file in COPIED_FILES {
            if let Some(bytes) = block_on(read_file(checkpoint.repository(), file))? {
                files.append(file, &bytes)?;
            }
        }

        let layout = layout(runtime_tensors(checkpoint.config()));
        files.append(WEIGHTS_FILE, &layout.head)?;
        let mut offset = layout.head.len() as u64;
        let mut tensors = HashMap::new();
        for tensor in &layout.tensors {
            tensors.insert(tensor.name.clone(), offset);
            offset += tensor.len_bytes();
        }
        let bar = bytes_bar("quantizing", checkpoint.total_bytes());
        let mut sink = WeightFile {
            path: self.out.join(WEIGHTS_FILE),
            files,
            tensors,
        };
        block_on(checkpoint.stream(&mut sink, &mut |done, _| bar.set_position(done)))?;
        sink.files.finish()?;
        bar.finish_and_clear();
        let (before, after) = (thousands(checkpoint.total_bytes()), thousands(layout.file_bytes));
        print(&format!(
            "{}: {after} bytes of weights, {before} before\n",
            self.out.display()
        ))
    }

    /// The config as it was, with the `quantization` block.
    fn config(&self, checkpoint: &Checkpoint<DirectoryRepository>) -> Result<String> {
        let text =
            block_on(read_file(checkpoint.repository(), CONFIG_FILE))?.ok_or_else(|| CheckpointError::MissingFile {
                file: CONFIG_FILE.into(),
            })?;
        let mut config: serde_json::Map<String, serde_json::Value> =
            mobilemoe_web::json::from_slice(&text).map_err(|error| ConfigError::Json(error.to_string()))?;
        config.insert("quantization".into(), int4_block());
        Ok(format!("{:#}\n", serde_json::Value::from(config)))
    }
}

/// A weight file whose tensors arrive in another order than they lie.
struct WeightFile {
    path: PathBuf,
    files: NewFiles,
    /// Where each tensor begins.
    tensors: HashMap<String, u64>,
}

impl TensorSink for WeightFile {
    async fn write(&mut self, tensor: &str, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let begin = self
            .tensors
            .get(tensor)
            .ok_or_else(|| CheckpointError::MissingTensor { tensor: tensor.into() })?;
        let file = self.files.file(WEIGHTS_FILE)?;
        let written = file
            .seek(SeekFrom::Start(begin + offset_bytes))
            .and_then(|_| file.write_all(bytes));
        written.map_err(|error| unwritable(&self.path, &error))
    }
}
