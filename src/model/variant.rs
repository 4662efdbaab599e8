//! Which style of kernels an adapter runs faster: measured, because no feature flag or limit tells.

use std::{collections::HashMap, sync::Mutex};

use web_time::Instant;

use crate::{
    Result,
    gpu::Gpu,
    kernels::{Form, Step, Variant, lm_head::LmHead},
};

/// What was found on the adapters seen so far, by name.
static FOUND: Mutex<Option<HashMap<String, Variant>>> = Mutex::new(None);

/// A run of this length is measured well enough, against a clock of 1 ms and a way there and back of a few.
const LONG_ENOUGH_MS: f64 = 30.0;
const MOST_DISPATCHES: u32 = 256;

/// Rows and columns of the matrix that is measured with: 1.2 MB, little for a slow device.
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
        decode: faster(gpu, Form::decoding).await?,
        prefill: faster(gpu, |form| form).await?,
    };
    FOUND.lock().unwrap().get_or_insert_default().insert(adapter, variant);
    Ok(variant)
}

async fn faster(gpu: &Gpu, used: fn(Form) -> Form) -> Result<Form> {
    let workgroup = dispatch_ms(gpu, used(Form::WORKGROUP)).await;
    let thread = dispatch_ms(gpu, used(Form::THREAD)).await;
    gpu.check()?;
    Ok(match (workgroup, thread) {
        // The style made for GPUs has the benefit of the doubt.
        (Ok(workgroup), Ok(thread)) if thread < 0.8 * workgroup => used(Form::THREAD),
        (Ok(_), _) => used(Form::WORKGROUP),
        // A driver may fail to compile one of them.
        (Err(_), Ok(_)) => used(Form::THREAD),
        (Err(error), Err(_)) => return Err(error),
    })
}

/// How long a dispatch takes. A submit's way there and back may take longer than the kernel: so the time of a few dispatches
/// is taken off that of four times as many, and there are enough for that to be told apart.
async fn dispatch_ms(gpu: &Gpu, form: Form) -> Result<f64> {
    let measured = gpu.guard("a measurement", || {
        let kernel = LmHead::new(gpu, [form.tile, COLUMNS, ROWS], 1e-5, form);
        let tile = form.tile;
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
    let run = async |dispatches: u32| -> Result<f64> {
        let begin = Instant::now();
        let mut commands = gpu.commands();
        commands.pass(|pass| {
            for _ in 0..dispatches {
                kernel.dispatch(&bind_group, form.tile).encode(pass);
            }
        });
        commands.submit();
        gpu.idle().await?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    };
    run(1).await?; // compiles
    let mut dispatches = 1;
    let mut few_ms = run(dispatches).await?;
    loop {
        let many_ms = run(4 * dispatches).await?;
        if many_ms >= LONG_ENOUGH_MS || dispatches >= MOST_DISPATCHES {
            return Ok((many_ms - few_ms).max(0.0) / f64::from(3 * dispatches));
        }
        dispatches *= 4;
        few_ms = many_ms;
    }
}
