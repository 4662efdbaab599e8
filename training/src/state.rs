//! What training holds, and its file: a line of JSON, then weights and moments as they lie in memory.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{model::Layout, optimizer::AdamW, shape::Shape};

pub struct State {
    pub position: Position,
    pub weights: Vec<f32>,
    pub optimizer: AdamW,
}

/// Where training stands. Data follow from the seed, the stage and the step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Position {
    pub shape: Shape,
    pub seed: u64,
    /// Index of the stage; the number of stages when all are done.
    pub stage: usize,
    /// Steps done in it.
    pub step: u64,
    /// Tokens read in it.
    #[serde(default)]
    pub tokens: u64,
    /// Time spent in it.
    pub seconds: f64,
    pub optimizer_steps: u64,
}

impl State {
    pub fn new(layout: &Layout, shape: Shape, seed: u64) -> State {
        State {
            position: Position {
                shape,
                seed,
                stage: 0,
                step: 0,
                tokens: 0,
                seconds: 0.0,
                optimizer_steps: 0,
            },
            weights: layout.initial(seed),
            optimizer: AdamW::new(layout.len),
        }
    }

    /// Written beside the old file first, then put in its place: there is always a whole one.
    pub fn save(&self, path: &Path) -> Result<()> {
        let new = path.with_extension("new");
        let mut file = BufWriter::new(File::create(&new).with_context(|| format!("cannot write {}", new.display()))?);
        let position = Position {
            optimizer_steps: self.optimizer.steps,
            ..self.position.clone()
        };
        writeln!(file, "{}", serde_json::to_string(&position)?)?;
        for values in [&self.weights, &self.optimizer.mean, &self.optimizer.square] {
            file.write_all(bytemuck::cast_slice(values))?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The shape of the model in a file.
    pub fn shape(path: &Path) -> Result<Shape> {
        let mut line = String::new();
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        BufReader::new(file).read_line(&mut line)?;
        let position: Position = serde_json::from_str(&line).with_context(|| not_a_state(path))?;
        Ok(position.shape)
    }

    /// `None` if there is no such file.
    pub fn load(path: &Path, layout: &Layout, shape: Shape) -> Result<Option<State>> {
        if !path.exists() {
            return Ok(None);
        }
        let bad = || not_a_state(path);
        let mut file = BufReader::new(File::open(path)?);
        let mut line = String::new();
        file.read_line(&mut line)?;
        let position: Position = serde_json::from_str(&line).with_context(bad)?;
        ensure!(
            position.shape == shape,
            "{}: it is of another shape: {:?}",
            bad(),
            position.shape
        );
        let mut values = || {
            let mut values = vec![0f32; layout.len];
            file.read_exact(bytemuck::cast_slice_mut(&mut values))
                .with_context(bad)?;
            anyhow::Ok(values)
        };
        let (weights, mean, square) = (values()?, values()?, values()?);
        ensure!(file.read(&mut [0])? == 0, "{}: it is too long", bad());
        let steps = position.optimizer_steps;
        let optimizer = AdamW { mean, square, steps };
        Ok(Some(State {
            position,
            weights,
            optimizer,
        }))
    }
}

fn not_a_state(path: &Path) -> String {
    format!("{} is no state of this training", path.display())
}
