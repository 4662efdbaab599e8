//! Checkpoints: what opens, what streams, and what each kind of damage is called.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use half::{bf16, f16};
use mobilemoe_web::{
    Error, ModelConfig, Result,
    checkpoint::{
        ByteSource, CONFIG_FILE, Checkpoint, CheckpointError, DirectoryRepository, Dtype, INDEX_FILE, MemoryRepository,
        PIECE_BYTES, Parameter, Repository, TensorSink, WEIGHTS_FILE, end_of_file, int4, parameters, read_file,
        runtime_tensors,
        synth::{SHAPES, Shape, Synth, shape, tiny},
    },
    config::WeightFormat,
};
use pollster::block_on;
use serde_json::{Map, Value, json};

/// Keeps everything it is given, and holds the pieces to what [`TensorSink`] promises.
#[derive(Default, PartialEq)]
struct Collected(BTreeMap<String, Vec<Option<u8>>>);

impl Collected {
    fn of<R: Repository>(checkpoint: &Checkpoint<R>) -> Result<Collected> {
        let mut sink = Collected::default();
        for spec in runtime_tensors(checkpoint.config()) {
            let length = spec.len_bytes() as usize;
            sink.0.insert(spec.name, vec![None; length]);
        }
        let mut last = 0;
        block_on(checkpoint.stream(&mut sink, &mut |done, total| {
            assert!(done >= last && done <= total && total == checkpoint.total_bytes());
            last = done;
        }))?;
        assert_eq!(last, checkpoint.total_bytes());
        Ok(sink)
    }

    /// A tensor's bytes; panics if some never came.
    fn bytes(&self, tensor: &str) -> Vec<u8> {
        self.0[tensor]
            .iter()
            .map(|byte| byte.expect("every byte was written"))
            .collect()
    }

    fn assert_whole(&self) {
        self.0.keys().for_each(|tensor| drop(self.bytes(tensor)));
    }
}

impl TensorSink for Collected {
    async fn write(&mut self, tensor: &str, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let slots = self.0.get_mut(tensor).expect("a runtime tensor");
        let (begin, end) = (offset_bytes as usize, offset_bytes as usize + bytes.len());
        assert!(
            begin.is_multiple_of(4) && (end.is_multiple_of(4) || end == slots.len()),
            "{tensor} {begin}..{end}"
        );
        for (slot, byte) in slots[begin..end].iter_mut().zip(bytes) {
            assert!(slot.replace(*byte).is_none(), "{tensor}: written twice");
        }
        Ok(())
    }
}

fn fixture(name: &str) -> DirectoryRepository {
    DirectoryRepository::new(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

/// A shape whose rows have odd numbers of groups, so that pieces and scales do not fall on round offsets by luck.
const ODD: Shape = Shape {
    hidden: 96,
    layers: 4,
    query_heads: 3,
    kv_heads: 1,
    experts: 5,
    experts_per_token: 2,
    expert_size: 32,
    shared_size: 160,
    vocab: 301,
    window: 0,
};

fn odd(format: WeightFormat) -> Synth {
    Synth {
        format,
        moe_step: 2,
        no_rope_layers: vec![1, 3],
        tied: false,
        ..Synth::new(ODD)
    }
}

fn open(repository: &MemoryRepository) -> Result<Checkpoint<MemoryRepository>> {
    block_on(Checkpoint::open(repository.clone()))
}

fn stream(repository: &MemoryRepository) -> Result<Collected> {
    open(repository).and_then(|checkpoint| Collected::of(&checkpoint))
}

/// What opening or streaming a damaged checkpoint says.
fn failure(repository: &MemoryRepository) -> CheckpointError {
    match stream(repository) {
        Err(Error::Checkpoint(error)) => error,
        Err(other) => panic!("not a checkpoint error: {other:?}"),
        Ok(_) => panic!("the damage went unnoticed"),
    }
}

// ---- What opens

#[test]
fn published_int4_files_stream_as_they_are() {
    for name in ["tiny-a", "tiny-c"] {
        let checkpoint = block_on(Checkpoint::open(fixture(name))).unwrap();
        assert_eq!(checkpoint.config().weights, WeightFormat::Int4G32);
        assert_eq!(checkpoint.extra_tensors().count(), 0);
        let streamed = Collected::of(&checkpoint).unwrap();
        assert_eq!(streamed.0.len(), checkpoint.tensors().len());
        for tensor in checkpoint.tensors() {
            let stored = block_on(checkpoint.read_raw(&tensor.name)).unwrap();
            assert!(streamed.bytes(&tensor.name) == stored, "{}", tensor.name);
        }
    }
}

#[test]
fn bf16_weights_come_back_within_half_a_step() {
    let checkpoint = block_on(Checkpoint::open(fixture("tiny-a-sft"))).unwrap();
    assert_eq!(checkpoint.config().weights, WeightFormat::Bf16);
    let streamed = Collected::of(&checkpoint).unwrap();
    for parameter in parameters(checkpoint.config()) {
        let raw = block_on(checkpoint.read_raw(&parameter.name)).unwrap();
        let stored: Vec<f32> = raw
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| bf16::from_le_bytes(bytes).to_f32())
            .collect();
        let Some((qweight, scale)) = parameter.int4_names() else {
            // The router is widened, the others are copied.
            let runtime = streamed.bytes(&parameter.name);
            if parameter.name.ends_with("router.weight") {
                let wide: Vec<f32> = runtime
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&bytes| f32::from_le_bytes(bytes))
                    .collect();
                assert_eq!(wide, stored);
            } else {
                assert_eq!(runtime, raw);
            }
            continue;
        };
        let scales = streamed.bytes(&scale);
        let restored = int4::dequantize(&streamed.bytes(&qweight), &scales);
        assert_eq!(restored.len(), stored.len());
        for (i, (restored, stored)) in restored.iter().zip(&stored).enumerate() {
            let group = i / int4::GROUP;
            let step = f16::from_le_bytes([scales[2 * group], scales[2 * group + 1]])
                .to_f32()
                .abs();
            // One whole step where the value lies beyond the shorter end, 7; a little more where f16 rounded the scale.
            assert!(
                (restored - stored).abs() <= step * 1.01 + 1e-6,
                "{} [{i}]: {restored} {stored}",
                parameter.name
            );
        }
    }
}

#[test]
fn the_published_models_have_their_published_sizes() {
    let published = [
        ("S", 713_916_240, 1.26e9, 0.01e9, 272e6),
        ("M", 1_590_986_088, 2.8e9, 0.1e9, 528e6),
        ("L", 3_004_365_448, 5.3e9, 0.1e9, 922e6),
    ];
    for (name, file_bytes, total, digit, active) in published {
        let synth = Synth::new(shape(name).unwrap());
        assert_eq!(synth.weight_bytes().unwrap(), file_bytes, "{name}");
        let config = synth.config().unwrap();
        let parameters = parameters(&config);
        let count =
            |of: fn(&Parameter, &ModelConfig) -> u64| parameters.iter().map(|p| of(p, &config)).sum::<u64>() as f64;
        assert!((count(|p, _| p.elements()) - total).abs() <= digit / 2.0, "{name}");
        assert!(
            (count(Parameter::active_elements) - active).abs() <= 0.5e6,
            "{name}: {}",
            count(Parameter::active_elements)
        );
    }
}

// ---- Synthetic checkpoints

#[test]
fn synthetic_checkpoints_open_in_every_format() {
    for (name, shape) in SHAPES.into_iter().take(2) {
        for format in [WeightFormat::Int4G32, WeightFormat::Bf16] {
            let checkpoint = open(
                &Synth {
                    format,
                    ..Synth::new(shape)
                }
                .in_memory()
                .unwrap(),
            )
            .unwrap();
            assert_eq!(
                (checkpoint.config().weights, checkpoint.extra_tensors().count()),
                (format, 0),
                "{name}"
            );
        }
    }
    for format in [WeightFormat::Int4G32, WeightFormat::Bf16] {
        let repository = odd(format).in_memory().unwrap();
        let config = open(&repository).unwrap().config().clone();
        assert_eq!(
            config.layers.iter().map(|l| (l.rope, l.moe)).collect::<Vec<_>>(),
            [(true, false), (false, true), (true, false), (false, true)]
        );
        stream(&repository).unwrap().assert_whole();
    }
}

#[test]
fn a_seed_means_the_same_bytes() {
    let files = |seed| {
        Synth {
            seed,
            ..Synth::new(ODD)
        }
        .in_memory()
        .unwrap()
    };
    let weights = |repository: &MemoryRepository| repository.get(WEIGHTS_FILE).unwrap().to_vec();
    assert!(weights(&files(1)) == weights(&files(1)) && weights(&files(1)) != weights(&files(2)));
}

#[test]
fn shards_stream_what_the_single_file_does() {
    for format in [WeightFormat::Int4G32, WeightFormat::Bf16] {
        let single = odd(format).in_memory().unwrap();
        for shards in [2, 3, 1000] {
            let sharded = Synth { shards, ..odd(format) }.in_memory().unwrap();
            let checkpoint = open(&sharded).unwrap();
            assert_eq!(checkpoint.files().len(), shards.min(checkpoint.tensors().len()));
            assert!(stream(&sharded).unwrap() == stream(&single).unwrap());
        }
    }
}

// ---- How files are read

/// Refuses to go back: what an HTTP answer without ranges can serve.
struct Sequential {
    files: MemoryRepository,
    largest_read_bytes: Rc<Cell<usize>>,
}

struct SequentialFile<S> {
    file: S,
    position: RefCell<u64>,
    largest_read_bytes: Rc<Cell<usize>>,
}

impl Repository for Sequential {
    type Source = SequentialFile<<MemoryRepository as Repository>::Source>;

    async fn open(&self, file: &str) -> Result<Option<Self::Source>> {
        let largest_read_bytes = self.largest_read_bytes.clone();
        let file = self.files.open(file).await?;
        Ok(file.map(|file| SequentialFile {
            file,
            position: RefCell::new(0),
            largest_read_bytes,
        }))
    }
}

impl<S: ByteSource> ByteSource for SequentialFile<S> {
    fn len_bytes(&self) -> u64 {
        self.file.len_bytes()
    }

    async fn read(&self, offset_bytes: u64, out: &mut [u8]) -> Result<()> {
        assert_eq!(
            self.position.replace(offset_bytes + out.len() as u64),
            offset_bytes,
            "read out of order"
        );
        self.largest_read_bytes
            .set(self.largest_read_bytes.get().max(out.len()));
        self.file.read(offset_bytes, out).await
    }
}

#[test]
fn files_are_read_once_and_in_order_and_in_small_pieces() {
    let mini = Synth::new(shape("mini").unwrap());
    for (synth, several_pieces) in [
        (mini.clone(), true),
        (
            Synth {
                format: WeightFormat::Bf16,
                shards: 3,
                ..mini
            },
            true,
        ),
        (
            Synth {
                shards: 2,
                ..odd(WeightFormat::Bf16)
            },
            false,
        ),
    ] {
        let files = synth.in_memory().unwrap();
        let largest_read_bytes = Rc::new(Cell::new(0));
        let sequential = Sequential {
            files,
            largest_read_bytes: largest_read_bytes.clone(),
        };
        let checkpoint = block_on(Checkpoint::open(sequential)).unwrap();
        largest_read_bytes.set(0);
        Collected::of(&checkpoint).unwrap().assert_whole();
        assert!(largest_read_bytes.get() <= PIECE_BYTES);
        assert_eq!(checkpoint.total_bytes() > PIECE_BYTES as u64, several_pieces);
    }
}

#[test]
fn sources_say_where_a_file_ends() {
    let repository = tiny().unwrap();
    let directory = fixture("tiny-a");
    let length = repository.get(CONFIG_FILE).unwrap().len() as u64;
    let memory = block_on(repository.open(CONFIG_FILE)).unwrap().unwrap();
    let error = block_on(memory.read(length - 1, &mut [0; 2])).unwrap_err();
    assert_eq!(
        error.to_string(),
        end_of_file(CONFIG_FILE, length - 1, 2, length).to_string()
    );
    assert!(block_on(memory.read(u64::MAX, &mut [0; 2])).is_err());

    let file = block_on(directory.open(CONFIG_FILE)).unwrap().unwrap();
    let error = block_on(file.read(file.len_bytes() - 1, &mut [0; 2])).unwrap_err();
    assert_eq!(error.code(), "EndOfFile");
    assert!(block_on(read_file(&directory, "nothing.json")).unwrap().is_none());
    assert_eq!(block_on(fixture("").open("tiny-a")).unwrap_err().code(), "Read");
}

// ---- Experts stored one by one

/// The fused experts' tensors of a BF16 checkpoint, as linear layers of single experts.
fn split_experts(fused: &MemoryRepository) -> MemoryRepository {
    let checkpoint = open(fused).unwrap();
    let mut tensors: BTreeMap<String, (Vec<u64>, Vec<u8>)> = BTreeMap::new();
    for tensor in checkpoint.tensors() {
        let raw = block_on(checkpoint.read_raw(&tensor.name)).unwrap();
        let Some((stem, part)) = tensor.name.split_once(".experts.") else {
            tensors.insert(tensor.name.clone(), (tensor.shape.clone(), raw));
            continue;
        };
        let &[experts, inputs, outputs] = tensor.shape.as_slice() else {
            panic!("{:?}", tensor.shape)
        };
        let parts: &[&str] = if part == "gate_up_proj" {
            &["gate_proj", "up_proj"]
        } else {
            &["down_proj"]
        };
        let width = outputs / parts.len() as u64;
        for expert in 0..experts {
            for (p, part) in parts.iter().enumerate() {
                let mut transposed = Vec::new();
                for output in 0..width {
                    for input in 0..inputs {
                        let index = ((expert * inputs + input) * outputs + p as u64 * width + output) as usize;
                        transposed.extend_from_slice(&raw[2 * index..2 * index + 2]);
                    }
                }
                tensors.insert(
                    format!("{stem}.experts.{expert}.{part}.weight"),
                    (vec![width, inputs], transposed),
                );
            }
        }
    }
    let mut header = Map::new();
    let mut data = Vec::new();
    for (name, (shape, bytes)) in tensors {
        let begin = data.len();
        data.extend(bytes);
        header.insert(
            name,
            json!({"dtype": "BF16", "shape": shape, "data_offsets": [begin, data.len()]}),
        );
    }
    let mut split = fused.clone();
    split.insert(WEIGHTS_FILE, file_bytes(header_text(&header).as_bytes(), &data));
    split
}

#[test]
fn single_experts_stream_what_fused_ones_do() {
    let tiny_bf16 = Synth {
        format: WeightFormat::Bf16,
        ..Synth::new(shape("tiny").unwrap())
    };
    for synth in [odd(WeightFormat::Bf16), tiny_bf16] {
        let fused = synth.in_memory().unwrap();
        let split = split_experts(&fused);
        assert_eq!(open(&split).unwrap().extra_tensors().count(), 0);
        assert!(stream(&split).unwrap() == stream(&fused).unwrap());
    }
}

#[test]
fn a_missing_single_expert_is_named() {
    let mut split = split_experts(&odd(WeightFormat::Bf16).in_memory().unwrap());
    let tensor = "model.layers.1.feed_forward.experts.3.up_proj.weight";
    edit_header(&mut split, WEIGHTS_FILE, |header| {
        rename(header, tensor, "something.else")
    });
    assert_eq!(
        failure(&split),
        CheckpointError::MissingTensor { tensor: tensor.into() }
    );
}

// ---- Damage

fn header_text(header: &Map<String, Value>) -> String {
    Value::from(header.clone()).to_string()
}

fn file_bytes(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// The header as JSON, and the data.
fn take_apart(bytes: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (
        serde_json::from_slice(&bytes[8..8 + length]).unwrap(),
        bytes[8 + length..].to_vec(),
    )
}

fn edit_header(repository: &mut MemoryRepository, file: &str, edit: impl FnOnce(&mut Map<String, Value>)) {
    let (mut header, data) = take_apart(repository.get(file).unwrap());
    edit(&mut header);
    repository.insert(file, file_bytes(header_text(&header).as_bytes(), &data));
}

fn rename(header: &mut Map<String, Value>, from: &str, to: &str) {
    let entry = header.remove(from).unwrap();
    header.insert(to.into(), entry);
}

fn edit_config(repository: &mut MemoryRepository, field: &str, value: Value) {
    let mut config: Value = serde_json::from_slice(repository.get(CONFIG_FILE).unwrap()).unwrap();
    config[field] = value;
    repository.insert(CONFIG_FILE, config.to_string());
}

/// Overwrites bytes of a tensor, in whichever file it lies.
fn edit_tensor(repository: &mut MemoryRepository, tensor: &str, offset: usize, bytes: &[u8]) {
    let checkpoint = open(repository).unwrap();
    let (info, files) = (checkpoint.tensor(tensor).unwrap(), checkpoint.files());
    let begin = info.offset_bytes as usize + offset;
    repository.get_mut(&files[info.file]).unwrap()[begin..begin + bytes.len()].copy_from_slice(bytes);
}

const NORM: &str = "model.norm.weight";

#[test]
fn missing_files() {
    for file in [CONFIG_FILE, WEIGHTS_FILE] {
        let mut repository = tiny().unwrap();
        repository.remove(file);
        assert_eq!(failure(&repository), CheckpointError::MissingFile { file: file.into() });
    }
}

#[test]
fn a_config_of_absurd_size_is_not_read() {
    let mut repository = tiny().unwrap();
    repository.insert(CONFIG_FILE, vec![b' '; (128 << 20) + 1]);
    assert!(matches!(failure(&repository), CheckpointError::Read { file, .. } if file == CONFIG_FILE));
}

#[test]
fn a_bad_config_is_the_configs_error() {
    let mut repository = tiny().unwrap();
    edit_config(&mut repository, "hidden_size", json!(100));
    assert_eq!(open(&repository).err().unwrap().code(), "ConfigField");
}

#[test]
fn header_lengths_that_lie() {
    let whole = tiny().unwrap();
    let length = whole.get(WEIGHTS_FILE).unwrap().len() as u64;
    for lie in [0, 1, length - 7, 1 << 40, u64::MAX] {
        let mut repository = whole.clone();
        repository.get_mut(WEIGHTS_FILE).unwrap()[..8].copy_from_slice(&lie.to_le_bytes());
        let (file, header_bytes, file_bytes) = (WEIGHTS_FILE.into(), lie, length);
        assert_eq!(
            failure(&repository),
            CheckpointError::HeaderLength {
                file,
                header_bytes,
                file_bytes
            }
        );
    }
    for length in [0, 7] {
        let mut repository = whole.clone();
        repository.get_mut(WEIGHTS_FILE).unwrap().truncate(length);
        let (file, header_bytes, file_bytes) = (WEIGHTS_FILE.into(), 0, length as u64);
        assert_eq!(
            failure(&repository),
            CheckpointError::HeaderLength {
                file,
                header_bytes,
                file_bytes
            }
        );
    }
    // A little too short: the JSON is cut off.
    let mut repository = whole.clone();
    repository.get_mut(WEIGHTS_FILE).unwrap()[..8].copy_from_slice(&100u64.to_le_bytes());
    assert!(matches!(failure(&repository), CheckpointError::HeaderJson { file, .. } if file == WEIGHTS_FILE));
}

#[test]
fn headers_that_are_no_headers() {
    for text in [
        "[]",
        "not JSON",
        "{\"a\": 1}",
        "{\"a\": {\"dtype\": \"F32\", \"shape\": [-1], \"data_offsets\": [0, 4]}}",
        "\u{fffd}\u{0}",
    ] {
        let mut repository = tiny().unwrap();
        repository.insert(WEIGHTS_FILE, file_bytes(text.as_bytes(), &[]));
        assert!(
            matches!(failure(&repository), CheckpointError::HeaderJson { file, .. } if file == WEIGHTS_FILE),
            "{text}"
        );
    }
}

#[test]
fn truncated_and_oversized_files() {
    let whole = tiny().unwrap();
    let length = whole.get(WEIGHTS_FILE).unwrap().len() as u64;
    let last = open(&whole).unwrap().tensors().last().unwrap().name.clone();
    let mut repository = whole.clone();
    repository.get_mut(WEIGHTS_FILE).unwrap().pop();
    assert_eq!(
        failure(&repository),
        CheckpointError::Truncated {
            file: WEIGHTS_FILE.into(),
            tensor: last,
            expected_bytes: length,
            file_bytes: length - 1,
        }
    );
    let mut repository = whole.clone();
    repository.get_mut(WEIGHTS_FILE).unwrap().push(0);
    let (file, expected_bytes, file_bytes) = (WEIGHTS_FILE.into(), length, length + 1);
    assert_eq!(
        failure(&repository),
        CheckpointError::TrailingBytes {
            file,
            expected_bytes,
            file_bytes
        }
    );
}

/// Damages one tensor's entry and checks that the error is of this kind and names the tensor.
fn damage_entry(edit: impl Fn(&mut Value, [u64; 2]), tensor: &str, expected: impl Fn([u64; 2]) -> CheckpointError) {
    let mut repository = tiny().unwrap();
    let mut old = [0, 0];
    edit_header(&mut repository, WEIGHTS_FILE, |header| {
        let entry = header.get_mut(tensor).unwrap();
        old = [0, 1].map(|i| entry["data_offsets"][i].as_u64().unwrap());
        edit(entry, old);
    });
    assert_eq!(failure(&repository), expected(old));
}

#[test]
fn offsets_that_overlap_or_leave_gaps_or_lie_outside() {
    let (file, tensor) = (|| WEIGHTS_FILE.to_string(), || NORM.to_string());
    damage_entry(
        |entry, [begin, end]| entry["data_offsets"] = json!([begin - 2, end - 2]),
        NORM,
        |[begin, _]| CheckpointError::TensorOverlap {
            file: file(),
            tensor: tensor(),
            expected: begin,
            begin: begin - 2,
        },
    );
    damage_entry(
        |entry, [begin, end]| entry["data_offsets"] = json!([begin + 2, end + 2]),
        NORM,
        |[begin, _]| CheckpointError::TensorGap {
            file: file(),
            tensor: tensor(),
            expected: begin,
            begin: begin + 2,
        },
    );
    // Far outside the file: the bytes it should have had belong to nobody, which the next tensor shows.
    damage_entry(
        |entry, _| entry["data_offsets"] = json!([1u64 << 50, (1u64 << 50) + 256]),
        NORM,
        |[begin, end]| CheckpointError::TensorGap {
            file: file(),
            tensor: "model.embed_tokens.weight_scale".into(),
            expected: begin,
            begin: end,
        },
    );
}

#[test]
fn shapes_that_do_not_fit_their_bytes() {
    let bytes = |shape: Vec<u64>, begin, end| CheckpointError::TensorBytes {
        file: WEIGHTS_FILE.into(),
        tensor: NORM.into(),
        dtype: Dtype::BF16,
        shape,
        begin,
        end,
    };
    for shape in [
        vec![127],
        vec![129],
        vec![],
        vec![128, 0],
        vec![u64::MAX, 2],
        vec![1 << 32, 1 << 32],
    ] {
        let entry = json!(shape);
        damage_entry(
            |e, _| e["shape"] = entry.clone(),
            NORM,
            |[begin, end]| bytes(shape.clone(), begin, end),
        );
    }
    damage_entry(
        |e, [a, b]| e["data_offsets"] = json!([b, a]),
        NORM,
        |[begin, end]| bytes(vec![128], end, begin),
    );
}

#[test]
fn dtypes_nobody_knows() {
    for (dtype, found) in [(json!("F128"), "F128"), (json!(7), "7")] {
        damage_entry(
            |entry, _| entry["dtype"] = dtype.clone(),
            NORM,
            |_| CheckpointError::UnknownDtype {
                file: WEIGHTS_FILE.into(),
                tensor: NORM.into(),
                found: found.into(),
            },
        );
    }
}

#[test]
fn a_name_twice_in_one_header() {
    let mut repository = tiny().unwrap();
    let (mut header, data) = take_apart(repository.get(WEIGHTS_FILE).unwrap());
    let entry = header.remove("model.layers.0.input_layernorm.weight");
    let text = header_text(&header);
    let text = format!("{},\"{NORM}\":{}}}", &text[..text.len() - 1], entry.unwrap());
    repository.insert(WEIGHTS_FILE, file_bytes(text.as_bytes(), &data));
    let (tensor, first, second) = (NORM.into(), WEIGHTS_FILE.into(), WEIGHTS_FILE.into());
    assert_eq!(
        failure(&repository),
        CheckpointError::DuplicateTensor { tensor, first, second }
    );
}

#[test]
fn tensors_that_are_not_what_the_config_says() {
    let (file, tensor) = (|| WEIGHTS_FILE.to_string(), || NORM.to_string());
    let mut repository = tiny().unwrap();
    edit_header(&mut repository, WEIGHTS_FILE, |header| {
        rename(header, NORM, "model.norm.bias")
    });
    assert_eq!(
        failure(&repository),
        CheckpointError::MissingTensor { tensor: tensor() }
    );

    let dtype = |expected: &str, found| CheckpointError::TensorDtype {
        file: file(),
        tensor: tensor(),
        expected: expected.into(),
        found,
    };
    damage_entry(
        |entry, _| entry["dtype"] = json!("F16"),
        NORM,
        |_| dtype("BF16", Dtype::F16),
    );
    let shape = |expected, found| CheckpointError::TensorShape {
        file: file(),
        tensor: tensor(),
        expected,
        found,
    };
    damage_entry(
        |entry, _| entry["shape"] = json!([1, 128]),
        NORM,
        |_| shape(vec![128], vec![1, 128]),
    );

    // An INT4 config over BF16 weights, and the other way round.
    let bf16 = Synth {
        format: WeightFormat::Bf16,
        ..Synth::new(ODD)
    };
    let mut repository = bf16.in_memory().unwrap();
    repository.insert(CONFIG_FILE, Synth::new(ODD).config_json());
    assert_eq!(
        failure(&repository),
        CheckpointError::MissingTensor {
            tensor: "model.embed_tokens.qweight".into()
        }
    );
    let mut repository = Synth::new(ODD).in_memory().unwrap();
    repository.insert(CONFIG_FILE, bf16.config_json());
    assert_eq!(
        failure(&repository),
        CheckpointError::MissingTensor {
            tensor: "model.embed_tokens.weight".into()
        }
    );
}

#[test]
fn a_router_may_be_bf16_or_f32_but_nothing_else() {
    let mut repository = Synth {
        format: WeightFormat::Bf16,
        ..Synth::new(ODD)
    }
    .in_memory()
    .unwrap();
    let router = "model.layers.0.feed_forward.router.weight";
    edit_header(&mut repository, WEIGHTS_FILE, |header| {
        header[router]["dtype"] = json!("F16")
    });
    let (file, tensor, expected, found) = (WEIGHTS_FILE.into(), router.into(), "BF16 or F32".into(), Dtype::F16);
    assert_eq!(
        failure(&repository),
        CheckpointError::TensorDtype {
            file,
            tensor,
            expected,
            found
        }
    );
}

#[test]
fn the_lm_head_and_the_config_must_agree() {
    let mut repository = odd(WeightFormat::Int4G32).in_memory().unwrap();
    stream(&repository).unwrap().assert_whole();
    edit_config(&mut repository, "tie_word_embeddings", json!(true));
    let (file, tensor) = (WEIGHTS_FILE.into(), "lm_head.weight_scale".into());
    assert_eq!(failure(&repository), CheckpointError::UnexpectedLmHead { file, tensor });

    let mut repository = tiny().unwrap();
    edit_config(&mut repository, "tie_word_embeddings", json!(false));
    assert_eq!(
        failure(&repository),
        CheckpointError::MissingLmHead {
            tensor: "lm_head.qweight".into()
        }
    );
    let bf16 = Synth {
        format: WeightFormat::Bf16,
        ..Synth::new(ODD)
    };
    let mut repository = bf16.in_memory().unwrap();
    edit_config(&mut repository, "tie_word_embeddings", json!(false));
    assert_eq!(
        failure(&repository),
        CheckpointError::MissingLmHead {
            tensor: "lm_head.weight".into()
        }
    );
}

#[test]
fn extra_tensors_are_skipped_and_listed() {
    let mut repository = tiny().unwrap();
    let plain = stream(&repository).unwrap();
    let (mut header, mut data) = take_apart(repository.get(WEIGHTS_FILE).unwrap());
    let begin = data.len();
    data.extend([7; 6]);
    header.insert(
        "model.rotary.inv_freq".into(),
        json!({"dtype": "F16", "shape": [3], "data_offsets": [begin, begin + 6]}),
    );
    repository.insert(WEIGHTS_FILE, file_bytes(header_text(&header).as_bytes(), &data));
    let checkpoint = open(&repository).unwrap();
    assert_eq!(
        checkpoint
            .extra_tensors()
            .map(|tensor| tensor.name.as_str())
            .collect::<Vec<_>>(),
        ["model.rotary.inv_freq"]
    );
    assert!(Collected::of(&checkpoint).unwrap() == plain);
}

#[test]
fn examining_gives_all_problems_and_refuses_to_stream() {
    let mut repository = tiny().unwrap();
    edit_header(&mut repository, WEIGHTS_FILE, |header| {
        rename(header, NORM, "model.norm.bias");
        header["model.layers.0.input_layernorm.weight"]["dtype"] = json!("I16");
    });
    let checkpoint = block_on(Checkpoint::examine(repository)).unwrap();
    assert_eq!(
        checkpoint
            .problems()
            .iter()
            .map(CheckpointError::code)
            .collect::<Vec<_>>(),
        ["TensorDtype", "MissingTensor"]
    );
    let nobody = &mut Collected::default();
    assert_eq!(
        block_on(checkpoint.stream(nobody, &mut |_, _| ())).unwrap_err().code(),
        "TensorDtype"
    );
}

// ---- Shards

fn sharded() -> (MemoryRepository, Vec<String>) {
    let repository = Synth {
        shards: 3,
        ..Synth::new(ODD)
    }
    .in_memory()
    .unwrap();
    let files = open(&repository).unwrap().files().to_vec();
    (repository, files)
}

#[test]
fn a_missing_shard() {
    let (mut repository, files) = sharded();
    let header = take_apart(repository.get(&files[1]).unwrap()).0;
    repository.remove(&files[1]);
    match failure(&repository) {
        CheckpointError::MissingShard { file, tensor } => assert!(file == files[1] && header.contains_key(&tensor)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tensor_that_its_shard_lacks() {
    let (mut repository, files) = sharded();
    let name = take_apart(repository.get(&files[2]).unwrap())
        .0
        .keys()
        .find(|name| *name != "__metadata__")
        .unwrap()
        .clone();
    edit_header(&mut repository, &files[2], |header| {
        rename(header, &name, "something.else")
    });
    let (index, tensor, file) = (INDEX_FILE.into(), name, files[2].clone());
    assert_eq!(
        failure(&repository),
        CheckpointError::IndexTensor { index, tensor, file }
    );
}

/// What the model does not need may be in the index and nowhere else; a shard of nothing else is not asked for.
#[test]
fn an_index_may_name_what_nobody_needs() {
    let (mut repository, files) = sharded();
    let index = repository.get_mut(INDEX_FILE).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(index).unwrap();
    json["weight_map"]["mtp.fc.weight"] = files[1].as_str().into();
    json["weight_map"]["vision.weight"] = "model-vision.safetensors".into();
    *index = serde_json::to_vec(&json).unwrap();
    assert_eq!(open(&repository).unwrap().files(), files);
    assert!(stream(&repository).is_ok());
}

#[test]
fn files_that_are_something_else_are_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    let page = "\n<!DOCTYPE html><html><head></head></html>";
    let (sharded, files) = sharded();
    let whole = Synth::new(ODD).in_memory().unwrap();
    for (repository, file) in [
        (&whole, "config.json"),
        (&whole, "model.safetensors"),
        (&sharded, INDEX_FILE),
        (&sharded, files[1].as_str()),
    ] {
        for (content, told) in [(pointer, "git lfs pull"), (page, "HTML page")] {
            let mut repository = repository.clone();
            repository.insert(file, content);
            let error = open(&repository).err().unwrap().to_string();
            assert!(error.contains(file) && error.contains(told), "{file}: {error}");
        }
    }
}

#[test]
fn json_of_windows_and_python_opens() {
    let mut repository = Synth::new(ODD).in_memory().unwrap();
    let config = String::from_utf8(repository.get("config.json").unwrap().to_vec()).unwrap();
    let config = config.replacen(
        '{',
        "\u{feff}{\"initializer_range\": NaN, \"time_step_limit\": [0.0, Infinity],",
        1,
    );
    repository.insert("config.json", config);
    assert!(open(&repository).is_ok());
}

#[test]
fn a_tensor_in_two_shards() {
    let (mut repository, files) = sharded();
    let (header, _) = take_apart(repository.get(&files[0]).unwrap());
    let (name, entry) = header.iter().find(|(name, _)| *name != "__metadata__").unwrap();
    let (mut other, mut data) = take_apart(repository.get(&files[2]).unwrap());
    let length = entry["data_offsets"][1].as_u64().unwrap() - entry["data_offsets"][0].as_u64().unwrap();
    let mut entry = entry.clone();
    entry["data_offsets"] = json!([data.len(), data.len() as u64 + length]);
    data.extend(vec![0; length as usize]);
    other.insert(name.clone(), entry);
    repository.insert(files[2].as_str(), file_bytes(header_text(&other).as_bytes(), &data));
    let (tensor, first, second) = (name.clone(), files[0].clone(), files[2].clone());
    assert_eq!(
        failure(&repository),
        CheckpointError::DuplicateTensor { tensor, first, second }
    );
}

#[test]
fn a_damaged_shard_is_named() {
    let (mut repository, files) = sharded();
    repository.get_mut(&files[1]).unwrap().pop();
    assert!(matches!(failure(&repository), CheckpointError::Truncated { file, .. } if file == files[1]));
}

#[test]
fn indexes_that_are_no_indexes() {
    for text in ["", "[]", "{}", "{\"weight_map\": {}}", "{\"weight_map\": {\"a\": 1}}"] {
        let (mut repository, _) = sharded();
        repository.insert(INDEX_FILE, text);
        assert!(
            matches!(failure(&repository), CheckpointError::IndexJson { .. }),
            "{text}"
        );
    }
    for file in [
        "",
        "..",
        "../other/model.safetensors",
        "/etc/passwd",
        "a\\b",
        "https://elsewhere",
        "a?b",
        ".hidden",
    ] {
        let (mut repository, _) = sharded();
        repository.insert(INDEX_FILE, json!({"weight_map": {NORM: file}}).to_string());
        assert!(
            matches!(failure(&repository), CheckpointError::IndexJson { .. }),
            "{file}"
        );
    }
}

// ---- Values

#[test]
fn values_that_are_not_finite() {
    let non_finite = |tensor: &str, index, value: f32| match value {
        value if value.is_nan() => panic!("NaN is not equal to itself: compare by hand"),
        value => CheckpointError::NonFinite {
            file: WEIGHTS_FILE.into(),
            tensor: tensor.into(),
            index,
            value,
        },
    };
    let infinity = f16::INFINITY.to_le_bytes();
    for tensor in [
        "model.embed_tokens.weight_scale",
        "model.layers.1.feed_forward.experts.down_scale",
    ] {
        let mut repository = tiny().unwrap();
        edit_tensor(&mut repository, tensor, 2 * 77, &infinity);
        assert_eq!(failure(&repository), non_finite(tensor, 77, f32::INFINITY));
        edit_tensor(&mut repository, tensor, 2 * 33, &f16::NAN.to_le_bytes());
        match failure(&repository) {
            CheckpointError::NonFinite {
                tensor: found,
                index: 33,
                value,
                ..
            } if value.is_nan() => assert_eq!(found, tensor),
            other => panic!("{other:?}"),
        }
    }
    let mut repository = tiny().unwrap();
    edit_tensor(&mut repository, NORM, 2 * 127, &bf16::NEG_INFINITY.to_le_bytes());
    assert_eq!(failure(&repository), non_finite(NORM, 127, f32::NEG_INFINITY));
    let router = "model.layers.2.feed_forward.router.weight";
    let mut repository = tiny().unwrap();
    edit_tensor(&mut repository, router, 4 * 1000, &f32::INFINITY.to_le_bytes());
    assert_eq!(failure(&repository), non_finite(router, 1000, f32::INFINITY));
}

#[test]
fn bf16_weights_that_cannot_be_quantized() {
    let fused = odd(WeightFormat::Bf16).in_memory().unwrap();
    let split = split_experts(&fused);
    let cases = [
        (&fused, "model.embed_tokens.weight", 12_345),
        (&fused, "model.layers.1.feed_forward.experts.gate_up_proj", 9_876),
        (&fused, "model.layers.3.feed_forward.router.weight", 333),
        (&split, "model.layers.3.feed_forward.experts.4.up_proj.weight", 1_234),
    ];
    for (repository, tensor, index) in cases {
        let mut repository = repository.clone();
        edit_tensor(&mut repository, tensor, 2 * index, &bf16::INFINITY.to_le_bytes());
        let (file, value) = (WEIGHTS_FILE.into(), f32::INFINITY);
        let expected = CheckpointError::NonFinite {
            file,
            tensor: tensor.into(),
            index: index as u64,
            value,
        };
        assert_eq!(failure(&repository), expected);
    }
    let mut repository = fused.clone();
    let tensor = "model.layers.0.self_attn.o_proj.weight";
    edit_tensor(&mut repository, tensor, 2 * 100, &bf16::from_f32(1e6).to_le_bytes());
    let (file, tensor) = (WEIGHTS_FILE.into(), tensor.into());
    assert_eq!(
        failure(&repository),
        CheckpointError::ScaleOverflow { file, tensor, group: 3 }
    );
}

#[test]
fn what_a_sink_refuses_ends_the_stream() {
    struct Full;
    impl TensorSink for Full {
        async fn write(&mut self, tensor: &str, _: u64, _: &[u8]) -> Result<()> {
            Err(CheckpointError::Write {
                file: tensor.into(),
                reason: "full".into(),
            }
            .into())
        }
    }
    let checkpoint = open(&tiny().unwrap()).unwrap();
    assert_eq!(
        block_on(checkpoint.stream(&mut Full, &mut |_, _| ()))
            .unwrap_err()
            .code(),
        "Write"
    );
}
