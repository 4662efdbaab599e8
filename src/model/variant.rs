//! Which forms of the kernels an adapter runs fastest: measured, because no feature flag or limit tells.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::{
    ModelConfig, Result,
    gpu::{Features, Gpu, GpuError},
    kernels::{
        Form, Inputs, LARGEST_TILE, Matrix, PREFILL_TILE, Step, Style, Variant, dot, inverse_rms, lm_head::LmHead,
    },
};

/// What was found on one adapter, by the sizes of the model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Remembered(BTreeMap<String, Variant>);

impl Remembered {
    /// What [`Remembered::to_text`] wrote; `None` if that was something else, or another version.
    pub fn read(text: &str) -> Option<Remembered> {
        serde_json::from_str(text).ok()
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("maps of names are JSON")
    }

    pub(super) fn of(&self, config: &ModelConfig) -> Option<Variant> {
        self.0.get(&sizes(config)).copied()
    }

    pub(super) fn put(&mut self, config: &ModelConfig, variant: Variant) {
        self.0.insert(sizes(config), variant);
    }
}

/// What the speed of a form depends on in a model: the sizes of its matrices.
fn sizes(config: &ModelConfig) -> String {
    let heads = (config.query_heads, config.kv_heads);
    format!(
        "hidden {}, expert {}, shared {}, heads {heads:?}, vocabulary {}",
        config.hidden_size, config.expert_size, config.shared_size, config.vocab_size
    )
}

/// What was found on the adapters seen so far, by all that tells them apart.
static FOUND: Mutex<Option<HashMap<String, Variant>>> = Mutex::new(None);

/// A run of this length is measured well enough, against a clock of 1 ms and a way there and back of a few.
const LONG_ENOUGH_MS: f64 = 15.0;
const MOST_DISPATCHES: u32 = 256;

/// After the plain ones, no further form is tried after so much running, or after so much time in all, with compilation, which
/// software adapters take long for.
const RUNNING_MS: f64 = 300.0;
const IN_ALL_MS: f64 = 2000.0;

/// Another form must take less than this share of the best one's time: a near tie goes to the simpler one, and less
/// precision must pay. Of the plain ones, the one made for GPUs has the benefit of the doubt.
const THREAD_SHARE: f64 = 0.8;
const ROUNDED_SHARE: f64 = 0.9;
const OTHER_SHARE: f64 = 0.95;

/// One of the plain forms is out if the other takes less than this share of its time in decoding.
const FAR_BEHIND_SHARE: f64 = 0.1;

/// Rows and columns of the matrix that is measured with: 1.2 MB, little for a slow device.
const ROWS: usize = 4096;
const COLUMNS: usize = 512;
const EPS: f32 = 1e-5;

/// Every so manieth row's results are compared with what the CPU computes.
const CHECKED_STEP: usize = 31;
const CHECKED_ROWS: usize = ROWS.div_ceil(CHECKED_STEP);

/// The fastest forms for one token and for tiles, measured on a small LM head, once an adapter. A form that computes
/// something else than the CPU (drivers have bugs) is not chosen.
pub async fn fastest_variant(gpu: &Gpu, features: Features, config: &ModelConfig) -> Result<Variant> {
    let adapter = format!("{} {}", gpu.identity(), sizes(config));
    let found = FOUND.lock().unwrap().get_or_insert_default().get(&adapter).copied();
    if let Some(variant) = found {
        return Ok(variant);
    }
    let head = gpu.guard("a measurement", || Head::new(gpu)).await?;
    let mut search = Search {
        head: &head,
        features,
        began: Instant::now(),
        running_ms: 0.0,
    };
    let [decode, prefill] = search.plain().await?;
    search.running_ms = 0.0;
    let variant = Variant {
        decode: search.refined(decode).await?,
        prefill: search.refined(prefill).await?,
    };
    FOUND.lock().unwrap().get_or_insert_default().insert(adapter, variant);
    Ok(variant)
}

/// The forms measured so far, against the clock.
struct Search<'a> {
    head: &'a Head<'a>,
    features: Features,
    began: Instant,
    running_ms: f64,
}

/// A form and what a dispatch of it takes.
type Measured = (Form, f64);

/// Whether a form that takes `ms` is not worth more time, beside another.
fn is_far_behind(ms: Option<f64>, other_ms: Option<f64>) -> bool {
    match (ms, other_ms) {
        (Some(ms), Some(other_ms)) => ms >= LONG_ENOUGH_MS && other_ms > 0.0 && other_ms < FAR_BEHIND_SHARE * ms,
        _ => false,
    }
}

/// The faster of two first.
fn order(ms: [Option<f64>; 2]) -> [usize; 2] {
    match ms {
        [Some(first), Some(second)] if second < first => [1, 0],
        [None, _] => [1, 0],
        _ => [0, 1],
    }
}

impl Search<'_> {
    /// The better of the two plain forms, for one token and for tiles. One for both: the styles want the experts' weights in
    /// different orders.
    async fn plain(&mut self) -> Result<[Measured; 2]> {
        const FORMS: [Form; 2] = [Form::WORKGROUP, Form::THREAD];
        let [workgroup, thread] = FORMS.map(Form::decoding);
        let decode = [self.measured(workgroup).await?, self.measured(thread).await?];
        let decode_ms = decode.map(|measured| measured.map(|(_, ms)| ms));
        let mut both = [None; 2];
        // A software adapter would spend another second on one that is far behind; it is needed if the other is of no use.
        for i in order(decode_ms) {
            if both[1 - i].is_none() || !is_far_behind(decode_ms[i], decode_ms[1 - i]) {
                both[i] = decode[i].zip(self.measured(FORMS[i]).await?).map(<[Measured; 2]>::from);
            }
        }
        let [workgroup, thread] = both;
        // So much faster on average, decoding and prefill counting alike, and in neither far slower: a measurement may fail.
        let wins = |thread: [Measured; 2], workgroup: [Measured; 2]| {
            let shares = [0, 1].map(|i| thread[i].1 / workgroup[i].1);
            shares[0] * shares[1] < THREAD_SHARE.powi(2) && shares.iter().all(|share| *share < 2.0)
        };
        match (workgroup, thread) {
            (Some(workgroup), Some(thread)) if wins(thread, workgroup) => Ok(thread),
            (Some(plain), _) | (None, Some(plain)) => Ok(plain),
            (None, None) => Err(GpuError::WrongResults(self.head.gpu.info.name.clone()).into()),
        }
    }

    /// The best form found by changing one thing after the other: sums by subgroups, how inputs are kept, the tile.
    async fn refined(&mut self, best: Measured) -> Result<Form> {
        let mut best = best;
        for aspect in [Aspect::Subgroups, Aspect::Inputs, Aspect::Tile] {
            let from = best.0;
            let decoding = from.tile == 1;
            let others = Form::all()
                .filter(|form| !decoding || form.tile == PREFILL_TILE)
                .map(|form| if decoding { form.decoding() } else { form });
            // Without a packed dot product, INT8 in workgroups is F32 with rounding on top.
            let worthwhile = |form: &Form| (form.style, form.inputs) != (Style::Workgroup, Inputs::Int8);
            for form in others
                .filter(|form| aspect.alone_differs(from, *form))
                .filter(worthwhile)
            {
                let in_all_ms = self.began.elapsed().as_secs_f64() * 1e3;
                if form.check(self.features).is_err() || self.running_ms > RUNNING_MS || in_all_ms > IN_ALL_MS {
                    continue;
                }
                let share = if aspect == Aspect::Inputs {
                    ROUNDED_SHARE
                } else {
                    OTHER_SHARE
                };
                if let Some(other) = self.measured(form).await?
                    && other.1 < share * best.1
                {
                    best = other;
                }
            }
        }
        Ok(best.0)
    }

    /// `None` if the form does not compile here, or computes something else.
    async fn measured(&mut self, form: Form) -> Result<Option<Measured>> {
        let dispatch_ms = self.head.dispatch_ms(form, &mut self.running_ms).await;
        self.head.gpu.check()?;
        Ok(dispatch_ms.ok().flatten().map(|ms| (form, ms)))
    }
}

/// What two forms may differ in.
#[derive(Clone, Copy, PartialEq)]
enum Aspect {
    Subgroups,
    Inputs,
    Tile,
}

impl Aspect {
    fn alone_differs(self, a: Form, b: Form) -> bool {
        let changed = match self {
            // In the thread style, threads share rows for the sake of larger tiles.
            Aspect::Subgroups => Form {
                subgroups: b.subgroups,
                tile: if a.style == Style::Thread { b.tile } else { a.tile },
                ..a
            },
            Aspect::Inputs => Form { inputs: b.inputs, ..a },
            Aspect::Tile => Form { tile: b.tile, ..a },
        };
        a != b && changed == b
    }
}

/// A small LM head `[ROWS, COLUMNS]` of pseudorandom weights, with inputs for the largest tile.
struct Head<'a> {
    gpu: &'a Gpu,
    weights: [wgpu::Buffer; 2],
    norm: wgpu::Buffer,
    x: wgpu::Buffer,
    logits: wgpu::Buffer,
    /// `[LARGEST_TILE, CHECKED_ROWS]`
    expected: Vec<f32>,
}

impl Head<'_> {
    fn new(gpu: &Gpu) -> Head<'_> {
        let mut state = 1_u32;
        let mut random = || {
            // xorshift32: good enough to have every nibble and sign.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        let nibbles: Vec<u32> = (0..ROWS * COLUMNS / 8).map(|_| random()).collect();
        let scales: Vec<u16> = (0..ROWS * COLUMNS / 32)
            .map(|_| f16::from_f32((1 + random() % 64) as f32 / 4096.0).to_bits())
            .collect();
        let x: Vec<f32> = (0..LARGEST_TILE * COLUMNS)
            .map(|_| random() as f32 / u32::MAX as f32 * 2.0 - 1.0)
            .collect();
        let matrix = Matrix::Int4 {
            qweight: bytemuck::cast_slice(&nibbles),
            scale: bytemuck::cast_slice(&scales),
            columns: COLUMNS,
            inputs: Inputs::F32,
        };
        let rows: Vec<Vec<f32>> = (0..ROWS).step_by(CHECKED_STEP).map(|row| matrix.row(row)).collect();
        let expected = x.chunks_exact(COLUMNS).flat_map(|x| {
            let scale = inverse_rms(x, EPS);
            rows.iter().map(move |row| dot(row, x) * scale)
        });
        Head {
            gpu,
            expected: expected.collect(),
            weights: [gpu.upload("nibbles", &nibbles), gpu.upload("scales", &scales)],
            norm: gpu.upload("norm", &[bf16::ONE.to_bits(); COLUMNS]),
            x: gpu.upload("x", &x),
            logits: gpu.storage("logits", (LARGEST_TILE * ROWS * 4) as u64),
        }
    }

    /// How long a dispatch takes: for one token, or for as many as the largest tile has; `None` if its results are wrong. Adds
    /// the time of the runs to `running_ms`. A submit's way there and back may take longer than the kernel: so the time of a
    /// few dispatches is taken off that of four times as many, and there are enough for that to be told apart. Of both, the
    /// shorter of two runs: one held up would make the form look fast or slow, and that is remembered.
    async fn dispatch_ms(&self, form: Form, running_ms: &mut f64) -> Result<Option<f64>> {
        let gpu = self.gpu;
        let tokens = if form.tile == 1 { 1 } else { LARGEST_TILE };
        let compiled = gpu.guard("a measurement", || {
            let kernel = LmHead::new(gpu, [LARGEST_TILE, COLUMNS, ROWS], EPS, form);
            let step = gpu.upload(
                "step",
                &[Step {
                    position: 0,
                    count: tokens as u32,
                    head_row: 0,
                    head_rows: tokens as u32,
                }],
            );
            let [nibbles, scales] = &self.weights;
            let bind_group = kernel.bind(gpu, &step, [nibbles, scales], &self.norm, &self.x, &self.logits);
            (kernel, bind_group)
        });
        let (kernel, bind_group) = compiled.await?;
        // What the form before has found is not to pass for this one's.
        gpu.write(&self.logits, 0, &vec![0; LARGEST_TILE * ROWS * 4]);
        let mut run = async |dispatches: u32| -> Result<f64> {
            let begin = Instant::now();
            let mut commands = gpu.commands();
            commands.pass(|pass| {
                for _ in 0..dispatches {
                    kernel.dispatch(&bind_group, tokens).encode(pass);
                }
            });
            commands.submit();
            gpu.idle().await?;
            let ms = begin.elapsed().as_secs_f64() * 1e3;
            *running_ms += ms;
            Ok(ms)
        };
        run(1).await?; // drivers compile, and start up, on first use
        let mut dispatches = 1;
        let mut few_ms = run(dispatches).await?;
        let ms = loop {
            if dispatches == 1 && few_ms >= 2.0 * LONG_ENOUGH_MS {
                few_ms = few_ms.min(run(1).await?);
                if few_ms >= 2.0 * LONG_ENOUGH_MS {
                    break few_ms; // the way there and back is little against it
                }
            }
            let many_ms = run(4 * dispatches).await?;
            if many_ms >= LONG_ENOUGH_MS || dispatches >= MOST_DISPATCHES {
                few_ms = few_ms.min(run(dispatches).await?);
                let many_ms = many_ms.min(run(4 * dispatches).await?);
                break (many_ms - few_ms).max(0.0) / f64::from(3 * dispatches);
            }
            dispatches *= 4;
            few_ms = many_ms;
        };
        Ok(self.is_right(form.inputs, tokens).await?.then_some(ms))
    }

    /// Whether the logits are what the CPU found, up to what rounding the inputs costs.
    async fn is_right(&self, inputs: Inputs, tokens: usize) -> Result<bool> {
        let logits: Vec<f32> = self.gpu.read(&self.logits).await?;
        let size = (dot(&self.expected, &self.expected) / self.expected.len() as f32).sqrt();
        let tolerance = size
            * match inputs {
                Inputs::F32 => 1e-3,
                Inputs::F16 => 1e-2,
                Inputs::Int8 | Inputs::Packed => 5e-2,
            };
        let found = (logits.chunks_exact(ROWS)).flat_map(|token| token.iter().step_by(CHECKED_STEP));
        let checked = &self.expected[..tokens * CHECKED_ROWS];
        Ok((checked.iter().zip(found)).all(|(expected, found)| (found - expected).abs() <= tolerance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gpu::Requirements, kernels::testing::full};

    #[test]
    fn a_form_is_held_to_the_cpu() {
        pollster::block_on(async {
            let gpu = Gpu::open(Requirements::default()).await.unwrap();
            let features = gpu.features().await.unwrap();
            let mut head = Head::new(&gpu);
            let (rounded, plain) = (Inputs::Int8, Form::WORKGROUP);
            let some = |form: &Form| full() || form.style == Style::Workgroup;
            for form in Form::all().filter(|form| form.check(features).is_ok() && some(form)) {
                assert!(head.dispatch_ms(form, &mut 0.0).await.unwrap().is_some(), "{form}");
            }
            // What INT8 computes is too far off for F32, and a wrong matrix for all.
            let int8 = Form {
                inputs: rounded,
                ..plain
            };
            assert!(head.dispatch_ms(int8, &mut 0.0).await.unwrap().is_some());
            assert!(!head.is_right(Inputs::F32, LARGEST_TILE).await.unwrap());
            head.weights[1] = gpu.upload("scales", &[0x2000_u16; ROWS * COLUMNS / 32]);
            assert!(head.dispatch_ms(int8, &mut 0.0).await.unwrap().is_none());
        });
    }

    #[test]
    fn the_search_goes_on_from_a_slow_form_and_ends_in_time() {
        pollster::block_on(async {
            let gpu = Gpu::open(Requirements::default()).await.unwrap();
            let head = Head::new(&gpu);
            let features = gpu.features().await.unwrap();
            let search = |running_ms| Search {
                head: &head,
                features,
                began: Instant::now(),
                running_ms,
            };
            let plain = Form::WORKGROUP;
            assert_eq!(search(0.0).refined((plain, 0.0)).await.unwrap(), plain);
            let slow = (plain, f64::INFINITY);
            assert_eq!(search(RUNNING_MS + 1.0).refined(slow).await.unwrap(), plain);
            let found = search(0.0).refined(slow).await.unwrap();
            assert_eq!(found.subgroups, features.subgroup_size.is_some(), "{found}");
            assert_eq!(found.style, Style::Workgroup);
        });
    }

    #[test]
    fn a_form_is_far_behind_only_by_much_and_where_that_costs() {
        assert!(is_far_behind(Some(40.0), Some(0.6)));
        assert!(!is_far_behind(Some(0.6), Some(40.0)));
        assert!(!is_far_behind(Some(40.0), Some(5.0)));
        assert!(!is_far_behind(Some(4.0), Some(0.1))); // measuring it takes no time
        assert!(!is_far_behind(Some(40.0), Some(0.0))); // a failed measurement
        assert!(!is_far_behind(Some(40.0), None));
        assert!(!is_far_behind(None, Some(0.6)));
        assert_eq!(order([Some(40.0), Some(0.6)]), [1, 0]);
        assert_eq!(order([Some(0.6), Some(40.0)]), [0, 1]);
        assert_eq!(order([None, Some(40.0)]), [1, 0]);
        assert_eq!(order([Some(40.0), None]), [0, 1]);
    }

    #[test]
    fn one_thing_is_changed_at_a_time() {
        let packed: Form = "workgroup-packed".parse().unwrap();
        let others = |aspect: Aspect| -> Vec<String> {
            let forms = Form::all().filter(|form| aspect.alone_differs(packed, *form));
            forms.map(|form| form.to_string()).collect()
        };
        assert_eq!(others(Aspect::Subgroups), ["workgroup-packed-subgroups"]);
        assert_eq!(others(Aspect::Inputs), ["workgroup", "workgroup-int8", "workgroup-f16"]);
        assert_eq!(others(Aspect::Tile), ["workgroup-packed-tile8"]);
        let forms = |aspect: Aspect| -> Vec<String> {
            let others = Form::all().filter(|form| aspect.alone_differs(Form::THREAD, *form));
            others.map(|form| form.to_string()).collect()
        };
        assert_eq!(forms(Aspect::Subgroups), ["thread-subgroups-tile8"]);
        assert!(
            [Aspect::Inputs, Aspect::Tile]
                .into_iter()
                .all(|aspect| forms(aspect).is_empty())
        );
    }
}
