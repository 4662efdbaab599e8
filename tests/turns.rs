//! Generations that take turns, are steered, and report.

mod common;

use std::ops::ControlFlow;

use common::Fixture;
use mobilemoe_web::{
    engine::{Engine, Event, GenerateOptions, Generation, Session, Steering},
    kernels::{KvFormat, sample::Sampling},
};
use pollster::block_on;

fn engine() -> Engine {
    Fixture::open("tiny-a").engine(KvFormat::F32, 16)
}

fn prompt(length: usize, seed: u32) -> Vec<u32> {
    (0..length as u32).map(|i| (i * 37 + seed * 101) % 512).collect()
}

fn generate(engine: &mut Engine, session: &mut Session, ids: &[u32], options: &GenerateOptions) -> Generation {
    let go_on = &mut |_| ControlFlow::Continue(());
    block_on(engine.generate(session, ids, options, go_on)).unwrap()
}

fn hot(seed: u32) -> GenerateOptions {
    GenerateOptions {
        max_tokens: 12,
        sampling: Sampling {
            temperature: 1.2,
            seed: [seed, 0],
            ..Default::default()
        },
        ..Default::default()
    }
}

/// Several generations step by step, with others' work in between, end as each does alone.
#[test]
fn turns_change_nothing() {
    let mut engine = engine();
    let penalized = GenerateOptions {
        steering: Steering {
            frequency_penalty: 1.5,
            repetition_penalty: 1.2,
            ..Default::default()
        },
        top_logprobs: Some(3),
        ..hot(3)
    };
    // Prompts of one pass and of several.
    let requests = [
        (
            prompt(5, 1),
            GenerateOptions {
                max_tokens: 12,
                ..Default::default()
            },
        ),
        (prompt(50, 2), hot(2)),
        (prompt(20, 3), penalized),
        (prompt(1, 4), hot(4)),
    ];
    let alone: Vec<Vec<u32>> = requests
        .iter()
        .map(|(ids, options)| {
            let mut session = block_on(engine.session()).unwrap();
            generate(&mut engine, &mut session, ids, options).tokens
        })
        .collect();

    let mut running = Vec::new();
    for (ids, options) in &requests {
        let mut session = block_on(engine.session()).unwrap();
        let one = block_on(engine.begin(&mut session, ids, options.clone())).unwrap();
        running.push((one, session, false));
    }
    let (context, continuation) = (prompt(40, 7), prompt(30, 8));
    let score = block_on(engine.score(&context, &continuation)).unwrap();
    let mut scoring = block_on(engine.begin_score(&context, &continuation)).unwrap();
    let mut scored = None;
    let mut random = fastrand::Rng::with_seed(5);
    while running.iter().any(|(.., over)| !over) {
        let (one, session, over) = &mut running[random.usize(..requests.len())];
        *over = block_on(engine.step(one, session)).unwrap().is_none();
        if scored.is_none() && random.u8(..4) == 0 {
            scored = block_on(engine.score_chunk(&mut scoring)).unwrap();
        }
    }
    assert_eq!(scored, Some(score));
    for ((one, mut session, _), alone) in running.into_iter().zip(alone) {
        assert_eq!(block_on(engine.end(one, &mut session)).unwrap().tokens, alone);
    }
}

#[test]
fn a_mask_holds_for_every_token() {
    let mut engine = engine();
    let mut session = block_on(engine.session()).unwrap();
    let options = GenerateOptions {
        steering: Steering {
            masked: true,
            ..Default::default()
        },
        ..hot(1)
    };
    let ids = prompt(30, 6);
    let mut running = block_on(engine.begin(&mut session, &ids, options)).unwrap();
    assert_eq!(running.set_mask(&engine, &[0; 16]).unwrap_err().code(), "Mask");
    assert_eq!(running.set_mask(&engine, &[1; 15]).unwrap_err().code(), "Mask");
    // The i-th token must be one of three that depend on i.
    let allowed = |i: usize| [7 * i, 200 + i, 511 - i];
    let mut tokens: Vec<u32> = Vec::new();
    loop {
        let mut mask = [0u32; 16];
        for id in allowed(tokens.len()) {
            mask[id / 32] |= 1 << (id % 32);
        }
        running.set_mask(&engine, &mask).unwrap();
        match block_on(engine.step(&mut running, &mut session)).unwrap() {
            None => break,
            Some(Event::Prompt { .. }) => {}
            Some(Event::Token(id)) => tokens.push(id),
        }
    }
    assert_eq!(tokens.len(), 12);
    for (i, id) in tokens.iter().enumerate() {
        assert!(allowed(i).contains(&(*id as usize)), "token {i} is {id}");
    }
    block_on(engine.end(running, &mut session)).unwrap();
    let unmasked = block_on(engine.begin(&mut session, &ids, hot(1))).unwrap();
    assert_eq!(unmasked.set_mask(&engine, &[1; 16]).unwrap_err().code(), "Mask");
}

#[test]
fn reports_are_what_scoring_and_tracing_say() {
    let mut engine = engine();
    let mut session = block_on(engine.session()).unwrap();
    let ids = prompt(25, 7);
    let options = GenerateOptions {
        top_logprobs: Some(5),
        routing: true,
        ..hot(6)
    };
    let mut running = block_on(engine.begin(&mut session, &ids, options)).unwrap();
    let (mut tokens, mut reports) = (Vec::new(), Vec::new());
    while let Some(event) = block_on(engine.step(&mut running, &mut session)).unwrap() {
        if let Event::Token(id) = event {
            tokens.push(id);
            reports.push(running.report().clone());
        }
    }
    block_on(engine.end(running, &mut session)).unwrap();
    let score = block_on(engine.score(&ids, &tokens)).unwrap();
    let trace = block_on(engine.logits(&[&ids[..], &tokens].concat(), true)).unwrap();
    let chosen = engine.config().experts_per_token;
    for (i, report) in reports.iter().enumerate() {
        let own = report.chosen.unwrap();
        assert_eq!(own.id, tokens[i]);
        assert!((own.logprob - score.logprobs[i]).abs() < 1e-4);
        assert_eq!(report.likeliest.len(), 5);
        let position = ids.len() - 1 + i;
        let row = &trace.logits[position * 512..][..512];
        assert!(
            row.iter()
                .all(|logit| *logit <= row[report.likeliest[0].id as usize] + 1e-4)
        );
        let experts: Vec<u32> = report.choices.iter().map(|choice| choice.expert).collect();
        let expected: Vec<u32> = trace
            .experts
            .iter()
            .filter(|layer| !layer.is_empty())
            .flat_map(|layer| &layer[position * chosen..][..chosen])
            .copied()
            .collect();
        assert_eq!(experts, expected, "token {i}");
    }
}

#[test]
fn a_fork_holds_what_the_session_held() {
    let mut engine = engine();
    let mut session = block_on(engine.session()).unwrap();
    let ids = prompt(300, 8); // more than a cache begins with
    let first = generate(&mut engine, &mut session, &ids, &hot(1));
    let mut fork = block_on(engine.fork(&session)).unwrap();
    assert_eq!(fork.tokens(), session.tokens());
    let other = generate(&mut engine, &mut session, &prompt(310, 9), &hot(1));
    assert_eq!(other.reused_tokens, 0);
    let again = generate(&mut engine, &mut fork, &ids, &hot(1));
    assert_eq!((again.reused_tokens, again.tokens), (299, first.tokens));
}

#[test]
fn bad_options_are_refused_by_name() {
    let mut engine = engine();
    let mut session = block_on(engine.session()).unwrap();
    let steered = |steering| GenerateOptions {
        steering,
        ..Default::default()
    };
    let neutral = Steering::default;
    for (options, named) in [
        (
            steered(Steering {
                repetition_penalty: 0.0,
                ..neutral()
            }),
            "repetition_penalty is 0",
        ),
        (
            steered(Steering {
                frequency_penalty: f32::NAN,
                ..neutral()
            }),
            "frequency_penalty is NaN",
        ),
        (
            steered(Steering {
                presence_penalty: 101.0,
                ..neutral()
            }),
            "presence_penalty is 101",
        ),
        (
            steered(Steering {
                bias: vec![(512, 1.0)],
                ..neutral()
            }),
            "logit_bias is for token 512",
        ),
        (
            steered(Steering {
                bias: vec![(1, f32::INFINITY)],
                ..neutral()
            }),
            "logit_bias is inf",
        ),
        (
            GenerateOptions {
                top_logprobs: Some(21),
                ..Default::default()
            },
            "top_logprobs is 21",
        ),
    ] {
        let error = block_on(engine.begin(&mut session, &[1], options)).err().unwrap();
        assert!(error.to_string().contains(named), "{error}");
    }
}
