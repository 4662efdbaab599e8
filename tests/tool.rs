//! The `mobilemoe` tool, run as a user runs it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use mobilemoe_web::{
    Result,
    checkpoint::{Checkpoint, DirectoryRepository, TensorSink},
};
use pollster::block_on;

fn mobilemoe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mobilemoe"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs it, expects it to succeed, and gives what it printed.
fn output(arguments: &[&str]) -> String {
    let output = mobilemoe(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it, expects this exit code and nothing on stdout but a report, and gives what it complained about.
fn complaint(arguments: &[&str], code: i32) -> String {
    let output = mobilemoe(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// An empty place for a test's files.
fn place(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All tensors one after another, with their names.
#[derive(Default, PartialEq)]
struct Pieces(std::collections::BTreeMap<String, Vec<u8>>);

impl TensorSink for Pieces {
    async fn write(&mut self, tensor: &str, offset_bytes: u64, bytes: &[u8]) -> Result<()> {
        let content = self.0.entry(tensor.into()).or_default();
        assert_eq!(content.len() as u64, offset_bytes);
        content.extend_from_slice(bytes);
        Ok(())
    }
}

fn stream(directory: &Path) -> Pieces {
    let checkpoint = block_on(Checkpoint::open(DirectoryRepository::new(directory))).unwrap();
    let mut pieces = Pieces::default();
    block_on(checkpoint.stream(&mut pieces, &mut |_, _| ())).unwrap();
    pieces
}

const ODD: [&str; 20] = [
    "--hidden",
    "96",
    "--layers",
    "3",
    "--query-heads",
    "3",
    "--kv-heads",
    "1",
    "--experts",
    "7",
    "--experts-per-token",
    "2",
    "--expert-size",
    "32",
    "--vocab",
    "400",
    "--no-rope-layers",
    "0,2",
    "--moe-step",
    "2",
];

#[test]
fn quantizing_writes_what_loading_computes() {
    let place = place("quantize");
    let (bf16, int4) = (place.join("bf16"), place.join("int4"));
    for shards in ["1", "3"] {
        let arguments = [
            &["synth", text(&bf16), "--format", "bf16", "--untied", "--shards", shards],
            &ODD[..],
        ]
        .concat();
        output(&arguments);
        output(&["quantize", text(&bf16), text(&int4)]);
        assert!(stream(&bf16) == stream(&int4));
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            assert_eq!(fs::read(bf16.join(file)).unwrap(), fs::read(int4.join(file)).unwrap());
        }
        assert!(output(&["inspect", text(&int4)]).contains("mobilemoe-int4-g32"));
        assert_eq!(fs::read_dir(&int4).unwrap().count(), 4);
        fs::remove_dir_all(&bf16).unwrap();
        fs::remove_dir_all(&int4).unwrap();
    }
}

#[test]
fn quantizing_refuses_what_it_cannot_do_and_leaves_nothing_behind() {
    let place = place("quantize-refuses");
    let (bf16, int4, out) = (place.join("bf16"), place.join("int4"), place.join("out"));
    output(&["synth", text(&int4)]);
    assert!(complaint(&["quantize", text(&int4), text(&out)], 1).contains("`quantization`"));
    assert!(!out.exists());

    output(&["synth", text(&bf16), "--format", "bf16"]);
    assert!(complaint(&["quantize", text(&bf16), text(&bf16)], 1).contains("already exists"));
    let weights = bf16.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let length = bytes.len();
    bytes[length - 2..].copy_from_slice(&[0x80, 0x7f]); // infinity
    fs::write(&weights, &bytes).unwrap();
    let error = complaint(&["quantize", text(&bf16), text(&out)], 1);
    assert!(
        error.starts_with("error: model.safetensors: tensor `") && error.contains("inf"),
        "{error}"
    );
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
}

#[test]
fn synth_makes_the_same_files_for_the_same_seed() {
    let place = place("synth");
    let directories = [("a", "1"), ("b", "1"), ("c", "2")].map(|(name, seed)| {
        let directory = place.join(name);
        let printed = output(&["synth", text(&directory), "--seed", seed]);
        assert!(printed.contains("1,549,064 bytes"), "{printed}");
        directory
    });
    let [a, b, c] = directories.map(|directory| fs::read(directory.join("model.safetensors")).unwrap());
    assert!(a == b && a != c);
}

#[test]
fn synth_refuses_shapes_that_no_engine_can_run() {
    let place = place("synth-refuses");
    let out = place.join("out");
    assert!(complaint(&["synth", text(&out), "--hidden", "100"], 1).contains("`hidden_size` is 100"));
    assert!(complaint(&["synth", text(&out), "--experts-per-token", "61"], 1).contains("`num_experts_per_tok`"));
    assert!(!out.exists());
    complaint(&["synth", text(&out), "--shape", "XL"], 2);
    complaint(&["synth", text(&out), "--shards", "0"], 2);
    output(&["synth", text(&out)]);
    assert!(complaint(&["synth", text(&out)], 1).contains("already exists"));
}

#[test]
fn inspect_fits_eighty_columns_and_counts_as_published() {
    let place = place("inspect");
    let directory = place.join("odd");
    output(&[&["synth", text(&directory), "--shards", "2", "--untied"], &ODD[..]].concat());
    let printed = output(&["inspect", text(&directory)]);
    let body = printed.split_once('\n').unwrap().1;
    assert!(body.lines().all(|line| line.chars().count() <= 80), "{printed}");
    assert!(
        body.contains("3: 1 with routed experts, 1 with RoPE") && body.contains("in 2 files"),
        "{printed}"
    );
    assert!(!body.contains("Problems"));

    let json: serde_json::Value = serde_json::from_str(&output(&["inspect", "--json", text(&directory)])).unwrap();
    assert_eq!(
        json["config"]["layers"][1],
        serde_json::json!({"rope": true, "moe": true, "sliding_window": null})
    );
    // Two embeddings, three layers of attention and shared SwiGLU, one of experts, by hand.
    let (attention, shared) = (96 * (192 + 64 + 64 + 192), 3 * 96 * 128);
    let fixed = 2 * 400 * 96 + 96 + 3 * (attention + shared + 2 * 96) + 7 * 96 + 7;
    assert_eq!(json["parameters"]["total"], fixed + 7 * 3 * 96 * 32);
    assert_eq!(json["parameters"]["active"], fixed + 2 * 3 * 96 * 32);
    assert_eq!(json["problems"], serde_json::json!([]));
}

#[test]
fn a_dense_model_is_made_shown_and_run() {
    let place = place("dense");
    let directory = place.join("dense");
    output(&[
        "synth",
        text(&directory),
        "--experts",
        "0",
        "--layers",
        "5",
        "--window",
        "8",
    ]);
    let printed = output(&["inspect", text(&directory)]);
    for said in [
        "5: none with routed experts, all with RoPE",
        "64; 4 layers see 8 tokens",
        "none; feed-forward of width 128",
    ] {
        assert!(printed.contains(said), "{printed}");
    }
    assert!(
        printed.lines().skip(1).all(|line| line.chars().count() <= 80),
        "{printed}"
    );
    for reference in [&["--reference"][..], &[]] {
        let arguments = [&["logits", text(&directory), "--ids", "1,2,3"], reference].concat();
        let json: serde_json::Value = serde_json::from_str(&output(&arguments)).unwrap();
        assert_eq!(json["experts"], serde_json::json!([[], [], [], [], []]));
        assert_eq!(json["logits"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn bench_measures_and_counts() {
    const QUICK: [&str; 10] = [
        "--prompts",
        "8,40",
        "--contexts",
        "5,9000",
        "--context",
        "200",
        "--tokens",
        "3",
        "--repeats",
        "2",
    ];
    let run = |models: &[&str], more: &[&str]| output(&[&["bench"], models, &QUICK[..], more].concat());
    let json: serde_json::Value = serde_json::from_str(&run(&["tiny"], &["--json"])).unwrap();
    let number = |key: &str| json[key].as_f64().unwrap_or_else(|| panic!("{key} in {json:#}"));
    assert_eq!(
        (json["shape"].as_str(), json["variant"].is_string()),
        (Some("tiny"), true)
    );
    for (key, expected) in [
        ("passes_per_token", 1.0),
        ("submits_per_token", 1.0),
        ("readback_bytes_per_token", 8.0),
        ("buffer_writes_per_token", 0.0),
        ("bind_groups_created_per_token", 0.0),
        ("buffers_created_per_token", 0.0),
    ] {
        assert_eq!(number(key), expected, "{key}");
    }
    assert!((1.0..=6.0 * 3.0 + 6.0).contains(&number("dispatches_per_token")));
    assert!(number("gpu_bytes") > number("weight_bytes"));
    assert_eq!(
        number("prefill_tokens_per_s"),
        json["prefill"][0]["tokens_per_s"]["median"]
    );
    assert_eq!(
        number("decode_ms_per_token"),
        json["decode"][0]["ms_per_token"]["median"]
    );

    let prefill: Vec<_> = (json["prefill"].as_array().unwrap().iter())
        .map(|figure| {
            (
                figure["prompt_tokens"].as_u64().unwrap(),
                figure["stream"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [(8, "realistic"), (8, "templated"), (40, "realistic"), (40, "templated")];
    assert_eq!(prefill, expected);
    // The longer context is cut to what leaves room for the tokens.
    let contexts: Vec<_> = json["decode"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["context"].as_u64().unwrap())
        .collect();
    assert!(contexts[0] == 5 && (180..200).contains(&contexts[1]), "{contexts:?}");

    // The kernels that ran read all that a token reads: weights, and 5 positions of 3 layers' keys and values.
    let read: u64 = (json["profile"]["decode"].as_array().unwrap().iter())
        .filter_map(|k| k["bytes"].as_u64())
        .sum();
    assert_eq!(
        read as f64,
        number("weight_bytes_per_token") + (5 * 3 * 2 * 64 * 2) as f64
    );
    let dispatches = |step: &str| -> f64 {
        (json["profile"][step].as_array().unwrap().iter())
            .map(|kernel| kernel["dispatches"].as_f64().unwrap())
            .sum()
    };
    assert_eq!(dispatches("decode"), number("dispatches_per_token"));
    assert!(dispatches("prefill") > 0.0);

    let place = place("bench");
    let dense = place.join("dense");
    output(&["synth", text(&dense), "--experts", "0", "--window", "8"]);
    let printed = run(&["tiny", text(&dense)], &["--no-profile", "--fill", "prompt"]);
    assert!(printed.lines().all(|line| line.chars().count() <= 80), "{printed}");
    for said in [
        "tiny over dense",
        "decode after 5 ",
        "prefill of 40, templated",
        "0 bind groups and 0 buffers",
    ] {
        assert!(printed.contains(said), "{printed}");
    }
    assert!(complaint(&["bench", "/nowhere"], 2).contains("neither a directory nor one of tiny, mini, S, M, L, pro"));
}

#[test]
fn inspect_shows_all_problems() {
    let place = place("inspect-problems");
    let directory = place.join("bad");
    output(&["synth", text(&directory)]);
    let path = directory.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    // Names of the same length keep all offsets.
    let damaged = replace(&bytes, b"model.norm.weight", b"model.norm.height");
    let damaged = replace(
        &damaged,
        b"layers.1.feed_forward.expert_bias",
        b"layers.1.feed_forward.expert_bios",
    );
    fs::write(&path, damaged).unwrap();
    let output = mobilemoe(&["inspect", text(&directory)]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8(output.stdout).unwrap();
    for said in [
        "`model.norm.weight` is missing",
        "`model.layers.1.feed_forward.expert_bias` is missing",
        "`model.norm.height`",
    ] {
        assert!(printed.contains(said), "{printed}");
    }
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: "));
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

#[test]
fn errors_go_to_stderr_and_mistakes_show_the_usage() {
    assert_eq!(
        complaint(&["inspect", "/nowhere"], 1),
        "error: config.json: not found in the repository\n"
    );
    assert!(complaint(&["inspect"], 2).contains("Usage"));
    assert!(complaint(&["fly"], 2).contains("unrecognized subcommand"));
    assert!(output(&["--help"]).contains("quantize"));
}
