//! Random walks through the masks: whatever is allowed, the text is what was asked for.

use mobilemoe_constrain::{Compiler, Constraint, ConstraintError, Format, Vocabulary};
use serde_json::{Value, json};

/// Every byte, two longer tokens, and three special ones of which two end an answer.
const TRUE: u32 = 256;
const START: u32 = 258;
const ENDS: [u32; 2] = [259, 260];
/// More than the vocabulary has, as models have.
const LOGITS: usize = 300;

fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary {
        bytes: Vec::new(),
        ends: Vec::new(),
        special: Vec::new(),
        end_ids: ENDS.to_vec(),
    };
    let bytes = (0..=255u8).map(|byte| vec![byte]);
    let long = [&b"true"[..], b"{\"a\":"].map(<[u8]>::to_vec);
    let special = [&b"<|start|>"[..], b"<|end|>", b"<|eot|>"].map(<[u8]>::to_vec);
    for token in bytes.chain(long).chain(special) {
        vocabulary.bytes.extend(token);
        vocabulary.special.push(vocabulary.special.len() >= START as usize);
        vocabulary.ends.push(vocabulary.bytes.len() as u32);
    }
    vocabulary
}

fn compile(format: Format) -> Result<Constraint, ConstraintError> {
    Compiler::new(&vocabulary(), LOGITS).unwrap().compile(&format)
}

fn allowed(mask: &[u32]) -> Vec<u32> {
    assert_eq!(mask.len(), LOGITS.div_ceil(32));
    (0..mask.len() as u32 * 32)
        .filter(|id| mask[*id as usize / 32] >> (id % 32) & 1 == 1)
        .collect()
}

/// Chooses at random, closing what is open more often than not, until the text ends.
fn walk(format: Format, random: &mut fastrand::Rng) -> String {
    let vocabulary = vocabulary();
    let mut constraint = compile(format).unwrap();
    let mut text = Vec::new();
    for _ in 0..5000 {
        let Some(mask) = constraint.mask().unwrap() else {
            return String::from_utf8(text).unwrap();
        };
        let ids = allowed(mask);
        assert!(!ids.is_empty() && !ids.contains(&START) && ids.iter().all(|id| *id <= ENDS[1]));
        assert_eq!(ids.contains(&ENDS[0]), ids.contains(&ENDS[1]), "both ends or none");
        let closing: Vec<u32> = ids
            .iter()
            .copied()
            .filter(|id| ENDS.contains(id) || [b'"', b'}', b']'].map(u32::from).contains(id))
            .collect();
        let from = if closing.is_empty() || random.f32() < 0.3 {
            &ids
        } else {
            &closing
        };
        let id = from[random.usize(..from.len())];
        if ENDS.contains(&id) {
            return String::from_utf8(text).unwrap();
        }
        constraint.accept(id).unwrap();
        let start = if id == 0 { 0 } else { vocabulary.ends[id as usize - 1] };
        text.extend(&vocabulary.bytes[start as usize..vocabulary.ends[id as usize] as usize]);
    }
    panic!("no end in sight: {}", String::from_utf8_lossy(&text));
}

#[test]
fn json_objects_parse() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..200 {
        let text = walk(Format::json_object(), &mut random);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(value.is_object(), "{text}");
        assert!(!text.contains(&" ".repeat(17)), "{text:?}");
    }
}

#[test]
fn schemas_hold() {
    let mut random = fastrand::Rng::with_seed(2);
    let schema = json!({
        "type": "object",
        "properties": {
            "kind": { "enum": ["moe", "dense"] },
            "experts": { "type": "integer", "minimum": 1, "maximum": 60 },
            "next": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] },
        },
        "required": ["kind", "experts", "next"],
        "additionalProperties": false,
    });
    fn check(value: &Value) {
        assert!(["moe", "dense"].contains(&value["kind"].as_str().unwrap()));
        assert!((1..=60).contains(&value["experts"].as_i64().unwrap()));
        assert_eq!(value.as_object().unwrap().len(), 3);
        if !value["next"].is_null() {
            check(&value["next"]);
        }
    }
    for _ in 0..100 {
        let text = walk(Format::JsonSchema(schema.clone()), &mut random);
        check(&serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}")));
    }
    // A schema that allows everything.
    let text = walk(Format::JsonSchema(Value::Bool(true)), &mut random);
    serde_json::from_str::<Value>(&text).unwrap();
}

#[test]
fn regexes_match_whole() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..100 {
        let text = walk(Format::Regex(r"(0|1){3}-[é🙂]+".into()), &mut random);
        let (digits, rest) = text.split_once('-').unwrap();
        assert!(digits.len() == 3 && digits.chars().all(|digit| "01".contains(digit)));
        assert!(!rest.is_empty() && rest.chars().all(|character| "é🙂".contains(character)));
    }
    // The anchors that such a regex has elsewhere say nothing more.
    assert_eq!(walk(Format::Regex("^ab$".into()), &mut random), "ab");
}

#[test]
fn grammars_hold() {
    let mut random = fastrand::Rng::with_seed(4);
    let grammar = "start: sum\nsum: product (\"+\" product)*\nproduct: \"(\" sum \")\" | /[0-9]/";
    for _ in 0..100 {
        let text = walk(Format::Grammar(grammar.into()), &mut random);
        let mut depth = 0;
        for character in text.chars() {
            depth += i32::from(character == '(') - i32::from(character == ')');
            assert!(depth >= 0, "{text}");
        }
        assert!(depth == 0 && !text.contains("++") && !text.contains("()"), "{text}");
    }
}

#[test]
fn a_token_counts_as_its_bytes() {
    let mut constraint = compile(Format::JsonSchema(json!({ "const": true }))).unwrap();
    assert_eq!(allowed(constraint.mask().unwrap().unwrap()), [u32::from(b't'), TRUE]);
    constraint.accept(TRUE).unwrap();
    assert_eq!(constraint.mask().unwrap(), None, "nothing can follow");
}

#[test]
fn a_forbidden_token_is_refused_for_good() {
    let mut constraint = compile(Format::Regex("ab".into())).unwrap();
    constraint.accept(u32::from(b'a')).unwrap();
    for id in [u32::from(b'x'), START, 299, u32::MAX] {
        assert_eq!(constraint.accept(id).unwrap_err().code(), "ConstraintFailed");
    }
    assert_eq!(constraint.mask().unwrap_err().code(), "ConstraintFailed");
}

#[test]
fn what_cannot_be_held_to_is_refused() {
    let schema = |value: Value| Format::JsonSchema(value);
    let cases = [
        (schema(json!({ "type": "array", "uniqueItems": true })), "uniqueItems"),
        (schema(json!({ "type": "objec" })), "objec"),
        (schema(json!({ "$ref": "https://example.org/schema" })), "example.org"),
        (
            schema(json!({ "type": "integer", "minimum": 2, "maximum": 1 })),
            "minimum",
        ),
        (schema(json!(false)), "false"),
        (schema(json!([1])), "[1]"),
        (Format::Regex("(ab".into()), "unclosed group"),
        (Format::Regex("a(?=b)".into()), "look-around"),
        (Format::Regex(String::new()), "empty"),
        (schema(json!({ "$ref": "#" })), "no token can follow"),
        (Format::Grammar("start: start".into()), "no token can follow"),
        (Format::Grammar("start: nothing".into()), "nothing"),
        (Format::Grammar(String::new()), "start"),
    ];
    for (format, named) in cases {
        let Err(error) = compile(format.clone()) else {
            panic!("{format:?} was compiled");
        };
        assert_eq!(error.code(), "BadConstraint");
        assert!(error.to_string().contains(named), "{format:?}: {error}");
    }
}

#[test]
fn a_broken_vocabulary_is_refused() {
    let broken: [fn(&mut Vocabulary); 4] = [
        |vocabulary| vocabulary.end_ids.clear(),
        |vocabulary| vocabulary.end_ids[0] = 1000,
        |vocabulary| vocabulary.ends[5] = 1000,
        |vocabulary| vocabulary.ends.truncate(5),
    ];
    for damage in broken {
        let mut vocabulary = vocabulary();
        damage(&mut vocabulary);
        assert!(matches!(
            Compiler::new(&vocabulary, LOGITS),
            Err(ConstraintError::Vocabulary { .. })
        ));
    }
}
