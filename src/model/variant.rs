//! Which style of kernels an adapter runs faster: measured, because no feature flag or limit tells.

use std::{collections::HashMap, sync::Mutex};

use web_time::{Duration, Instant};

use crate::{
    Result,
    gpu::Gpu,
    kernels::{PREFILL_TILE, Step, Style, Variant, lm_head::LmHead},
};

/// What was found on the adapters seen so far, by name.
static FOUND: Mutex<Option<HashMap<String, Variant>>> = Mutex::new(None);

/// Rows and columns of the matrix that is measured with: 1.2 MB, more than a core's cache, little for a slow device.
const ROWS: usize = 4096;
const COLUMNS: usize = 512;

/// The faster style for one token and for a tile of them, measured on a small LM head. Takes the compilation of four
/// kernels and a fraction of a second, once an adapter.
pub async fn fastest_variant(gpu: &Gpu) -> Result<Variant> {
    let adapter = format!("{} {:?}", gpu.info.name, gpu.info.backend);
    let found = FOUND.lock().unwrap().get_or_insert_default().get(&adapter).copied();
    if let Some(variant) = found {
        return Ok(variant);
    }
    let variant = Variant {
        decode: faster(gpu, 1).await?,
        prefill: faster(gpu, PREFILL_TILE).await?,
    };
    FOUND.lock().unwrap().get_or_insert_default().insert(adapter, variant);
    Ok(variant)
}

async fn faster(gpu: &Gpu, tile: usize) -> Result<Style> {
    let workgroup = dispatch_time(gpu, Style::Workgroup, tile).await?;
    let thread = dispatch_time(gpu, Style::Thread, tile).await?;
    Ok(if thread < workgroup {
        Style::Thread
    } else {
        Style::Workgroup
    })
}

/// How long a dispatch takes: the least of a few runs, so that somebody else's work does not decide.
async fn dispatch_time(gpu: &Gpu, style: Style, tile: usize) -> Result<Duration> {
    let measured = gpu.guard("a measurement", || {
        let kernel = LmHead::new(gpu, [ROWS, COLUMNS], 1e-5, style, tile);
        let step = gpu.upload(
            "step",
            &[Step {
                position: 0,
                count: tile as u32,
                head_row: 0,
                head_rows: tile as u32,
            }],
        );
        let nibbles = gpu.storage("nibbles", (ROWS * COLUMNS / 2) as u64);
        let scales = gpu.storage("scales", (ROWS * COLUMNS / 16) as u64);
        let norm = gpu.storage("norm", (COLUMNS * 2) as u64);
        let x = gpu.storage("x", (tile * COLUMNS * 4) as u64);
        let logits = gpu.storage("logits", (tile * ROWS * 4) as u64);
        let bind_group = kernel.bind(gpu, &step, [&nibbles, &scales], &norm, &x, &logits);
        (kernel, bind_group)
    });
    let (kernel, bind_group) = measured.await?;
    let mut least = Duration::MAX;
    // The first run compiles; a quick device gets more to do, so that the way there and back does not decide.
    let mut dispatches = 1;
    for _ in 0..4 {
        let begin = Instant::now();
        let mut commands = gpu.commands();
        commands.pass(|pass| {
            for _ in 0..dispatches {
                kernel.dispatch(&bind_group, tile).encode(pass);
            }
        });
        commands.submit();
        gpu.idle().await?;
        let took = begin.elapsed() / dispatches;
        least = least.min(took);
        if took < Duration::from_millis(4) {
            dispatches = 16;
        }
    }
    Ok(least)
}
