//! What the kernels' tests share: a device, random models of odd shapes, comparison.

use half::{bf16, f16};

use super::{
    Choice, Form, Inputs, KvFormat, LayerLayout, LayerTensors, Matrix, PREFILL_TILE, Step, Style,
    experts_up::chosen,
    transpose::{transpose, turned},
};
use crate::{
    config::{LayerConfig, ModelConfig, WeightFormat},
    gpu::{Dispatch, Gpu, Requirements},
};

/// A device (these tests need one; Mesa's lavapipe will do) and seeded random numbers.
pub fn setup(seed: u64) -> (Gpu, fastrand::Rng) {
    let gpu =
        pollster::block_on(Gpu::open(Requirements::default())).expect("kernel tests need a Vulkan or Metal device");
    (gpu, fastrand::Rng::with_seed(seed))
}

/// Forms that the device can run, for one token and for tiles: the plain ones, and each way to keep inputs with each tile, by
/// turns with and without subgroups. With `MOBILEMOE_PARITY=full` all there are, and those of the thread style, where sizes
/// decide how work is shared, more than once: Mesa takes long to compile them.
pub fn forms(gpu: &Gpu) -> Vec<Form> {
    let features = pollster::block_on(gpu.features()).unwrap();
    println!("{}: {features:?}", gpu.info.name);
    if gpu.info.name.contains("llvmpipe") {
        assert!(
            features.subgroup_size.is_some(),
            "forms with subgroups would go untested"
        );
    }
    let full = full();
    let tiled = Form::all();
    let decoding = tiled
        .clone()
        .filter(|form| form.tile == PREFILL_TILE)
        .map(Form::decoding);
    let again = [Form::THREAD.decoding(), Form::THREAD].repeat(2);
    (decoding.chain(tiled))
        .chain(again.into_iter().chain([Form::QUADS]).filter(|_| full))
        .filter(|form| form.check(features).is_ok())
        .filter(|form| {
            full || form.style == Style::Thread
                || [Form::WORKGROUP, Form::WORKGROUP.decoding()].contains(form)
                || form.subgroups == ((form.inputs as usize + form.tile / PREFILL_TILE) % 2 == 1)
        })
        .collect()
}

/// Whether everything is to be tested that `npm run test:long` tests.
pub fn full() -> bool {
    std::env::var("MOBILEMOE_PARITY").is_ok_and(|scope| scope == "full")
}

/// A small model of random shape.
pub fn config(random: &mut fastrand::Rng) -> ModelConfig {
    let round = random.bool();
    config_of(random, round)
}

/// A small model of random shape; of `round` numbers, so that threads have several blocks of rows each, or of odd ones.
pub fn config_of(random: &mut fastrand::Rng, round: bool) -> ModelConfig {
    let size = |of_round: usize, of_other: usize| if round { of_round } else { of_other };
    let kv_heads = size(4, random.usize(1..4));
    let layer = LayerConfig {
        rope: true,
        moe: true,
        window: None,
    };
    ModelConfig {
        vocab_size: 64,
        hidden_size: size(384, 32 * random.usize(1..12)),
        expert_size: size(384, 32 * random.usize(1..4)),
        shared_size: size(384, 32 * random.usize(1..9)),
        layers: vec![layer],
        query_heads: kv_heads * size(3, random.usize(1..6)),
        kv_heads,
        head_dim: 64,
        max_positions: 8192,
        rms_norm_eps: 1e-5,
        rope_theta: 500_000.0,
        rope_scaling: None,
        use_qk_norm: random.bool(),
        experts: random.usize(8..if round { 20 } else { 100 }),
        experts_per_token: random.usize(1..6),
        routed_scaling_factor: 2.5,
        norm_topk_prob: random.bool(),
        tied_embeddings: true,
        eos_token_ids: vec![],
        bos_token_id: None,
        weights: WeightFormat::Int4G32,
    }
}

/// Uniform in (-scale, scale).
pub fn floats(random: &mut fastrand::Rng, count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|_| (random.f32() * 2.0 - 1.0) * scale).collect()
}

/// An INT4 matrix with random nibbles, some zero and some subnormal scales.
pub struct Int4 {
    qweight: Vec<u8>,
    scale: Vec<u8>,
    columns: usize,
}

pub fn int4(random: &mut fastrand::Rng, rows: usize, columns: usize) -> Int4 {
    let qweight = (0..rows * columns / 2).map(|_| random.u8(..)).collect();
    let spread = 0.4 / (columns as f32).sqrt();
    let scale = (0..rows * columns / 32).flat_map(|_| {
        let scale = match random.u8(..50) {
            0 => 0.0,
            1 => 3.0e-6,
            _ => spread * random.f32(),
        };
        f16::from_f32(scale).to_le_bytes()
    });
    let scale = scale.collect();
    Int4 {
        qweight,
        scale,
        columns,
    }
}

impl Int4 {
    pub fn matrix(&self) -> Matrix<'_> {
        Matrix::Int4 {
            qweight: &self.qweight,
            scale: &self.scale,
            columns: self.columns,
            inputs: Inputs::F32,
        }
    }
    /// Nibbles and scales in a buffer each.
    pub fn upload(&self, gpu: &Gpu) -> [wgpu::Buffer; 2] {
        [upload_bytes(gpu, &self.qweight), upload_bytes(gpu, &self.scale)]
    }
}

fn upload_bytes(gpu: &Gpu, bytes: &[u8]) -> wgpu::Buffer {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(16), 0);
    gpu.upload("bytes", &padded)
}

/// One layer's tensors, random, in the order of their names.
pub struct LayerData {
    pub layout: LayerLayout,
    tensors: Vec<(String, Vec<u8>)>,
}

impl LayerData {
    pub fn new(random: &mut fastrand::Rng, config: &ModelConfig, layer: LayerConfig) -> LayerData {
        let (hidden, expert, shared) = (config.hidden_size, config.expert_size, config.shared_size);
        let (q, kv) = (config.query_heads * 64, config.kv_heads * 64);
        let mut tensors: Vec<(String, Vec<u8>)> = Vec::new();
        let swiglu = layer.swiglu();
        for (name, rows, columns) in [
            ("self_attn.q_proj", q, hidden),
            ("self_attn.k_proj", kv, hidden),
            ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, q),
            (format!("{swiglu}.gate_proj").as_str(), shared, hidden),
            (format!("{swiglu}.up_proj").as_str(), shared, hidden),
            (format!("{swiglu}.down_proj").as_str(), hidden, shared),
        ] {
            let matrix = int4(random, rows, columns);
            tensors.push((format!("{name}.qweight"), matrix.qweight));
            tensors.push((format!("{name}.weight_scale"), matrix.scale));
        }
        for name in ["input_layernorm.weight", "post_attention_layernorm.weight"] {
            tensors.push((name.into(), bf16_bytes(random, hidden, 1.0)));
        }
        if layer.moe {
            for (name, rows, columns) in [("gate_up", hidden, 2 * expert), ("down", expert, hidden)] {
                let matrix = int4(random, config.experts * rows, columns);
                tensors.push((format!("feed_forward.experts.{name}_qweight"), matrix.qweight));
                tensors.push((format!("feed_forward.experts.{name}_scale"), matrix.scale));
            }
            let router = floats(random, config.experts * hidden, 2.0 / (hidden as f32).sqrt());
            tensors.push((
                "feed_forward.router.weight".into(),
                bytemuck::cast_slice(&router).to_vec(),
            ));
            tensors.push((
                "feed_forward.expert_bias".into(),
                bf16_bytes(random, config.experts, 0.2),
            ));
        }
        random.shuffle(&mut tensors);
        // Behind the one matrix of floats what is not a number: who reads past it, finds out.
        if let Some(router) = tensors
            .iter()
            .position(|(name, _)| name == "feed_forward.router.weight")
        {
            tensors.insert(router + 1, ("nothing".into(), vec![0xff; 256]));
        }
        let layout = LayerLayout::new(tensors.iter().map(|(name, bytes)| (name.as_str(), bytes.len() as u64)));
        LayerData { layout, tensors }
    }

    /// The same scale for every group of a tensor.
    pub fn fill_scales(&mut self, tensor: &str, scale: f32) {
        let (_, bytes) = self.tensors.iter_mut().find(|(name, _)| name == tensor).unwrap();
        for half in bytes.chunks_exact_mut(2) {
            half.copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        }
    }

    /// As published.
    pub fn upload(&self, gpu: &Gpu) -> wgpu::Buffer {
        gpu.upload("layer", &self.bytes())
    }

    /// As kernels of this style read it.
    pub fn upload_for(&self, style: Style, gpu: &Gpu, config: &ModelConfig) -> wgpu::Buffer {
        let mut bytes = self.bytes();
        if style == Style::Thread {
            for (tensor, shape, bits) in turned(config) {
                if let Some((_, stack)) = self.tensors.iter().find(|(name, _)| name == tensor) {
                    let offset = self.layout.offset_bytes(tensor).unwrap() as usize;
                    transpose(&mut bytes[offset..offset + stack.len()], shape, bits);
                }
            }
        }
        gpu.upload("layer", &bytes)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.layout.bytes() as usize];
        for (name, tensor) in &self.tensors {
            let offset = self.layout.offset_bytes(name).unwrap() as usize;
            bytes[offset..offset + tensor.len()].copy_from_slice(tensor);
        }
        bytes
    }

    pub fn tensors<'a>(&'a self, config: &ModelConfig, layer: LayerConfig, inputs: Inputs) -> LayerTensors<'a> {
        LayerTensors::new(config, layer, inputs, &|wanted| {
            &self.tensors.iter().find(|(name, _)| name == wanted).unwrap().1
        })
    }
}

fn bf16_bytes(random: &mut fastrand::Rng, count: usize, scale: f32) -> Vec<u8> {
    floats(random, count, scale)
        .iter()
        .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
        .collect()
}

/// Distinct random experts for each token; now and then one that is not resident.
pub fn random_choices(
    random: &mut fastrand::Rng,
    config: &ModelConfig,
    layer: LayerConfig,
    count: usize,
) -> Vec<Choice> {
    let experts = config.experts as u32;
    let slots: Vec<u32> = (0..experts)
        .map(|expert| {
            let is_missing = random.u8(..10) == 0;
            if is_missing {
                super::EMPTY_SLOT
            } else {
                (expert + 3) % experts
            }
        })
        .collect();
    let mut choices = Vec::new();
    for _ in 0..count {
        for expert in random.choose_multiple(0..experts, chosen(config, layer)) {
            choices.push(Choice {
                expert,
                slot: slots[expert as usize],
                weight: random.f32(),
                score: 0.0,
            });
        }
    }
    // A dense layer has none, but a binding needs bytes.
    choices
}

pub fn step(gpu: &Gpu, position: usize, count: usize) -> wgpu::Buffer {
    let step = Step {
        position: position as u32,
        count: count as u32,
        head_row: count as u32 - 1,
        head_rows: 1,
    };
    gpu.upload("step", &[step])
}

pub fn run(gpu: &Gpu, dispatch: Dispatch) {
    let mut commands = gpu.commands();
    commands.pass(|pass| dispatch.encode(pass));
    commands.submit();
    gpu.check().unwrap();
}

pub fn read<T: bytemuck::Pod>(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<T> {
    pollster::block_on(gpu.read(buffer)).unwrap()
}

/// A cache `[positions, k|v, kv_heads, 64]` in the stored format.
pub fn upload_kv(gpu: &Gpu, values: &[f32], kv: KvFormat) -> wgpu::Buffer {
    upload_bytes(gpu, &kv.encode(values))
}

/// The same back, `rows` rows of it.
pub fn read_kv(gpu: &Gpu, cache: &wgpu::Buffer, kv: KvFormat, rows: usize) -> Vec<f32> {
    kv.decode(&read::<u8>(gpu, cache)[..rows * kv.row_bytes()])
}

/// Attention's splits `[splits, heads, 64]` put together by their `softmax` `[splits, heads]` (largest score, sum of
/// exp(score - largest)): `[heads, 64]`.
pub fn join_splits(attended: &[f32], softmax: &[[f32; 2]], splits: usize, heads: usize) -> Vec<f32> {
    let mut joined = vec![0.0; heads * 64];
    for (head, joined) in joined.chunks_exact_mut(64).enumerate() {
        let of_split = |split: usize| softmax[split * heads + head];
        let largest = (0..splits).fold(f32::MIN, |largest, split| largest.max(of_split(split)[0]));
        let share = |split: usize| of_split(split)[1] * (of_split(split)[0] - largest).exp();
        let total: f32 = (0..splits).map(share).sum();
        for split in 0..splits {
            for (joined, value) in joined.iter_mut().zip(&attended[(split * heads + head) * 64..]) {
                *joined += share(split) / total * value;
            }
        }
    }
    joined
}

/// Inputs that INT8 holds exactly: multiples of 1/64 up to 127/64, which each block of 32 has somewhere.
pub fn exact_in_int8(random: &mut fastrand::Rng, count: usize) -> Vec<f32> {
    let mut x: Vec<f32> = (0..count).map(|_| f32::from(random.i16(-127..=127)) / 64.0).collect();
    for block in x.chunks_mut(32) {
        block[random.usize(..block.len())] = 127.0 / 64.0 * [1.0, -1.0][random.usize(..2)];
    }
    x
}

/// How far a kernel with inputs kept like this may be from its twin: f32 sums differ by rounding. A sum that differs by its
/// last bit may also round to another INT8 or f16, and products of eight are summed up in f16.
pub fn tolerance(inputs: Inputs) -> f32 {
    match inputs {
        Inputs::F32 => 1e-4,
        Inputs::Int8 | Inputs::Packed => 2e-3,
        Inputs::F16 => 1e-2,
    }
}

/// |got - expected| <= tolerance * max(1, |expected|), for the length of `expected` (buffers are padded).
#[track_caller]
pub fn assert_close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert!(
        got.len() >= expected.len(),
        "{} values, expected {}",
        got.len(),
        expected.len()
    );
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(
            error <= tolerance * expected.abs().max(1.0),
            "at {i}: got {got}, expected {expected}"
        );
    }
}
