//! What the device's memory gives: all weights read by a kernel that does nothing else. Of a small model it tells little:
//! its weights fit a cache.

use web_time::Instant;

use super::milliseconds;
use crate::{Result, kernels::read::Read, model::Model};

/// A measurement should take about so long.
const WANTED_MS: f64 = 100.0;
const RUNS: usize = 3;

/// Bytes a second, in 10^9, by the better of two ways to read.
pub(super) async fn read_gb_per_s(model: &Model) -> Result<f64> {
    let neighbours = rate(model, true).await?;
    let runs = rate(model, false).await?;
    Ok(neighbours.max(runs))
}

/// The best of a few runs.
async fn rate(model: &Model, neighbours: bool) -> Result<f64> {
    let gpu = &model.gpu;
    let buffers: Vec<&wgpu::Buffer> = model.weight_buffers().collect();
    let bytes: u64 = buffers.iter().map(|buffer| buffer.size()).sum();
    let made = gpu.guard("a measurement of the memory", || {
        let (kernel, folded) = (Read::new(gpu, neighbours), Read::folded(gpu));
        let binds: Vec<_> = buffers.iter().map(|buffer| kernel.bind(gpu, buffer, &folded)).collect();
        (kernel, binds)
    });
    let (kernel, binds) = made.await?;
    let mut rounds = 1;
    let mut best: f64 = 0.0;
    // The first run compiles; it also tells how often to read for a measurement of good length.
    for _ in 0..=RUNS {
        let began = Instant::now();
        let mut commands = gpu.commands();
        commands.pass(|pass| {
            for (bind_group, buffer) in (0..rounds).flat_map(|_| binds.iter().zip(&buffers)) {
                kernel.dispatch(bind_group, buffer.size()).encode(pass);
            }
        });
        commands.submit();
        gpu.idle().await?;
        let ms = milliseconds(began);
        best = best.max((rounds * bytes) as f64 / ms / 1e6);
        rounds = ((rounds as f64 * WANTED_MS / ms) as u64).clamp(1, 64);
    }
    Ok(best)
}
