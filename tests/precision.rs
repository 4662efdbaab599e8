//! What rounding the inputs of matrices costs (`Inputs`): logits of the forms that round against the same kernels in F32, by
//! forced decoding. `cargo test --test precision -- --nocapture` prints the figures.

mod common;

use std::path::Path;

use common::*;
use mobilemoe_web::kernels::{Form, KvFormat};
use pollster::block_on;

/// How far logits of one form are from another's, over all positions.
#[derive(Debug, Default)]
struct Cost {
    positions: usize,
    /// Positions where both find the same token the likeliest.
    agreed: usize,
    largest: f32,
    squares: f64,
    values: usize,
    /// Sums of -ln p of the ids that follow, in F32 and rounded.
    losses: [f64; 2],
    predictions: usize,
}

impl Cost {
    /// Adds a text: logits `[ids, vocab]` in F32 and rounded.
    fn add(&mut self, ids: &[u32], plain: &[f32], rounded: &[f32]) {
        self.largest = self.largest.max(largest_difference(plain, rounded));
        self.squares += (plain.iter().zip(rounded))
            .map(|(a, b)| f64::from(a - b).powi(2))
            .sum::<f64>();
        self.values += plain.len();
        let vocab = plain.len() / ids.len();
        for (i, rows) in plain.chunks_exact(vocab).zip(rounded.chunks_exact(vocab)).enumerate() {
            self.positions += 1;
            self.agreed += usize::from(likeliest(rows.0) == likeliest(rows.1));
            if let Some(next) = ids.get(i + 1) {
                self.predictions += 1;
                self.losses[0] += loss(rows.0, *next);
                self.losses[1] += loss(rows.1, *next);
            }
        }
    }

    fn agreement(&self) -> f64 {
        self.agreed as f64 / self.positions as f64
    }

    fn root_mean_square(&self) -> f64 {
        (self.squares / self.values as f64).sqrt()
    }

    fn perplexities(&self) -> [f64; 2] {
        self.losses.map(|loss| (loss / self.predictions as f64).exp())
    }
}

fn likeliest(logits: &[f32]) -> usize {
    (0..logits.len())
        .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        .unwrap()
}

fn loss(logits: &[f32], id: u32) -> f64 {
    let largest = logits.iter().fold(f32::MIN, |a, b| a.max(*b));
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    sum.ln() - f64::from(logits[id as usize] - largest)
}

/// Measures a form of the checkpoint in `directory` on some texts; `None` where the device cannot run it.
fn cost(directory: &Path, form: &str, texts: &[Vec<u32>]) -> Option<Cost> {
    let load = |form: Form| engine_if_offered(directory, form, KvFormat::F32, 128);
    let mut plain = load(Form::THREAD)?;
    let mut rounded = load(form.parse().unwrap())?;
    let mut cost = Cost::default();
    for ids in texts {
        let [plain, rounded] =
            [&mut plain, &mut rounded].map(|engine| block_on(engine.logits(ids, true)).unwrap().logits);
        cost.add(ids, &plain, &rounded);
    }
    println!(
        "{}, {form}: {} positions, the same likeliest token at {:.2}%, logits off by {:.4} (root mean square), {:.3} at most, \
         perplexity {:.4} for {:.4}",
        directory.file_name().unwrap().display(),
        cost.positions,
        100.0 * cost.agreement(),
        cost.root_mean_square(),
        cost.largest,
        cost.perplexities()[1],
        cost.perplexities()[0],
    );
    Some(cost)
}

/// Held-out conversations of the pocket model's corpus: `cargo run -p training -- held-out`.
fn held_out() -> Vec<Vec<u32>> {
    let lines = include_str!("fixtures/pocket-held-out.txt").lines();
    lines
        .map(|line| line.split(' ').map(|id| id.parse().unwrap()).collect())
        .collect()
}

fn full() -> bool {
    std::env::var("MOBILEMOE_PARITY").is_ok_and(|scope| scope == "full")
}

/// INT8 on half of the texts; with `MOBILEMOE_PARITY=full` f16 too, and all of them.
#[test]
fn pocket_model() {
    let mut texts = held_out();
    texts.truncate(if full() { texts.len() } else { texts.len() / 2 });
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pocket");
    let forms = [("workgroup-packed", 0.985, 1.005), ("workgroup-f16", 0.998, 1.001)];
    for (form, agreement, perplexity) in &forms[..if full() { 2 } else { 1 }] {
        let Some(cost) = cost(&directory, form, &texts) else {
            assert_eq!(
                *form, "workgroup-f16",
                "{form} needs nothing that a native device could lack"
            );
            continue;
        };
        assert!(cost.positions >= 1000);
        assert!(cost.agreement() >= *agreement, "{form}");
        let [plain, rounded] = cost.perplexities();
        assert!(rounded / plain <= *perplexity, "{form}");
        assert!(cost.largest > 0.0, "{form}: nothing was rounded");
    }
}

/// Random weights, and random ids, are harder: what is close to a tie in routing tips.
#[test]
#[ignore = "minutes on a software GPU"]
fn random_weights() {
    for name in ["tiny-a", "tiny-c"] {
        let prompts = Fixture::open(name).prompts().into_iter().map(|(_, ids)| ids);
        let texts: Vec<Vec<u32>> = prompts.filter(|ids| ids.len() > 100).collect();
        for (form, agreement) in [("workgroup-packed", 0.9), ("workgroup-f16", 0.985)] {
            let Some(cost) = cost(&directory(name), form, &texts) else {
                continue;
            };
            assert!(cost.positions >= 1000);
            assert!(cost.agreement() >= agreement, "{name}, {form}");
        }
    }
}
