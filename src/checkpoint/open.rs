//! A repository's files -> a [`Checkpoint`]: everything checked before the first weight byte.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;

use super::{
    ByteSource, CheckpointError, Parameter, Repository, TensorInfo,
    manifest::{Role, assign, known_names},
    read_file,
    safetensors::{Header, read_header},
};
use crate::{ModelConfig, Result, json};

pub const CONFIG_FILE: &str = "config.json";
pub const WEIGHTS_FILE: &str = "model.safetensors";
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// An opened checkpoint: its config, and where in which file each tensor lies.
pub struct Checkpoint<R: Repository> {
    repository: R,
    config: ModelConfig,
    pub(super) files: Vec<WeightFile<R::Source>>,
    file_names: Vec<String>,
    tensors: Vec<TensorInfo>,
    pub(super) roles: Vec<Role>,
    problems: Vec<CheckpointError>,
}

/// One safetensors file, kept open: a source without ranges goes on where the header ended.
pub(super) struct WeightFile<S> {
    pub name: String,
    pub source: S,
    pub data_offset_bytes: u64,
    /// Its tensors' places in [`Checkpoint::tensors`], in the order of their bytes.
    pub tensors: std::ops::Range<usize>,
}

impl<R: Repository> Checkpoint<R> {
    /// Reads `config.json` and the header of `model.safetensors`, or those of all shards that
    /// `model.safetensors.index.json` names, and holds the tensors against the config.
    ///
    /// Errors: a file is missing, a header is damaged, a tensor is missing or not what the config says. Tensors that
    /// the model does not have are no error ([`Checkpoint::extra_tensors`]), except an LM head that the config denies.
    pub async fn open(repository: R) -> Result<Checkpoint<R>> {
        let checkpoint = Checkpoint::examine(repository).await?;
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Like [`Checkpoint::open`], but tensors that are not what the config says are no error: they become
    /// [`Checkpoint::problems`]. Such a checkpoint can be looked at, not streamed.
    pub async fn examine(repository: R) -> Result<Checkpoint<R>> {
        let config = read_file(&repository, CONFIG_FILE)
            .await?
            .ok_or_else(|| CheckpointError::MissingFile {
                file: CONFIG_FILE.into(),
            })?;
        let config = ModelConfig::from_json(&config)?;

        let mut files = Vec::new();
        let mut tensors: Vec<TensorInfo> = Vec::new();
        let mut add = |name: String, source: R::Source, header: Header| {
            let (file, first) = (files.len(), tensors.len());
            tensors.extend(header.tensors.into_iter().map(|tensor| TensorInfo { file, ..tensor }));
            let data_offset_bytes = header.data_offset_bytes;
            files.push(WeightFile {
                name,
                source,
                data_offset_bytes,
                tensors: first..tensors.len(),
            });
        };
        if let Some(source) = repository.open(WEIGHTS_FILE).await? {
            let header = read_header(&source, WEIGHTS_FILE).await?;
            add(WEIGHTS_FILE.into(), source, header);
        } else {
            let index = read_file(&repository, INDEX_FILE)
                .await?
                .ok_or_else(|| CheckpointError::MissingFile {
                    file: WEIGHTS_FILE.into(),
                })?;
            let known = known_names(&config);
            for (file, mut indexed) in parse_index(&index)? {
                // Whoever quantizes a model again may drop what nobody needs and leave it in the index, or need a shard no more.
                indexed.retain(|tensor| known.contains(tensor));
                if indexed.is_empty() {
                    continue;
                }
                let source = repository
                    .open(&file)
                    .await?
                    .ok_or_else(|| CheckpointError::MissingShard {
                        file: file.clone(),
                        tensor: indexed[0].clone(),
                    })?;
                let header = read_header(&source, &file).await?;
                check_shard(&file, &indexed, &header)?;
                add(file, source, header);
            }
        }

        let file_names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        check_duplicates(&file_names, &tensors)?;
        let (roles, problems) = assign(&config, &file_names, &tensors);
        Ok(Checkpoint {
            repository,
            config,
            files,
            file_names,
            tensors,
            roles,
            problems,
        })
    }

    /// Everything wrong with the tensors; nothing, if this checkpoint was [opened](Checkpoint::open).
    pub fn problems(&self) -> &[CheckpointError] {
        &self.problems
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.problems.first() {
            Some(problem) => Err(problem.clone().into()),
            None => Ok(()),
        }
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub fn repository(&self) -> &R {
        &self.repository
    }

    /// Names of the safetensors files; [`TensorInfo::file`] counts into them.
    pub fn files(&self) -> &[String] {
        &self.file_names
    }

    /// All tensors of all files, file after file, in the order of their bytes.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name, as stored.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// The tensors that hold a parameter: one, or packed weights and scales, or one an expert.
    pub fn stored_tensors(&self, parameter: &Parameter) -> impl Iterator<Item = &TensorInfo> {
        let names: HashSet<String> = parameter.stored_names().collect();
        self.tensors.iter().filter(move |tensor| names.contains(&tensor.name))
    }

    /// Tensors that the model does not have. They are skipped.
    pub fn extra_tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors
            .iter()
            .zip(&self.roles)
            .filter(|(_, role)| **role == Role::Extra)
            .map(|(tensor, _)| tensor)
    }

    /// Length of all safetensors files, headers included.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.source.len_bytes()).sum()
    }

    /// One tensor's bytes as stored, whatever its size: for tools and tests, not for loading.
    pub async fn read_raw(&self, name: &str) -> Result<Vec<u8>> {
        let tensor = self
            .tensor(name)
            .ok_or_else(|| CheckpointError::MissingTensor { tensor: name.into() })?;
        let mut bytes = vec![0; tensor.len_bytes as usize];
        self.files[tensor.file]
            .source
            .read(tensor.offset_bytes, &mut bytes)
            .await?;
        Ok(bytes)
    }
}

/// The index of a sharded checkpoint: tensors by file, both sorted by name.
fn parse_index(bytes: &[u8]) -> Result<BTreeMap<String, Vec<String>>, CheckpointError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bad = |reason: String| CheckpointError::IndexJson {
        file: INDEX_FILE.into(),
        reason,
    };
    let index: Index = json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, file) in index.weight_map {
        // The name goes into a path or a URL: it must stay inside the repository.
        if file.is_empty() || file.starts_with('.') || file.contains(['/', '\\', ':', '?', '#', '%']) {
            return Err(bad(format!(
                "tensor `{tensor}` is said to be in {file:?}, which is no plain file name"
            )));
        }
        files.entry(file).or_default().push(tensor);
    }
    if files.is_empty() {
        Err(bad("its weight_map is empty".into()))
    } else {
        Ok(files)
    }
}

/// Every tensor that the index places in this shard must be there.
fn check_shard(file: &str, expected: &[String], header: &Header) -> Result<(), CheckpointError> {
    let found: HashSet<&str> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    match expected.iter().find(|name| !found.contains(name.as_str())) {
        Some(tensor) => {
            let (index, tensor, file) = (INDEX_FILE.into(), tensor.clone(), file.into());
            Err(CheckpointError::IndexTensor { index, tensor, file })
        }
        None => Ok(()),
    }
}

fn check_duplicates(files: &[String], tensors: &[TensorInfo]) -> Result<(), CheckpointError> {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        if let Some(first) = seen.insert(&tensor.name, tensor.file) {
            return Err(CheckpointError::DuplicateTensor {
                tensor: tensor.name.clone(),
                first: files[first].clone(),
                second: files[tensor.file].clone(),
            });
        }
    }
    Ok(())
}
