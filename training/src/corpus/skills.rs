//! The skills: each asks something, and knows the one right answer.

use fastrand::Rng;

use super::{Cast, Rule, Split, Turn, article, capital, name, pick, with_articles, words};

/// A kind of question. All but stories have exactly one right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Skill {
    Story,
    Facts,
    Sums,
    Compare,
    Count,
    Opposites,
    Colours,
    Plurals,
    Reading,
    Echo,
    Memory,
    Manners,
    Refusal,
}

pub const SKILLS: [Skill; 13] = [
    Skill::Story,
    Skill::Facts,
    Skill::Sums,
    Skill::Compare,
    Skill::Count,
    Skill::Opposites,
    Skill::Colours,
    Skill::Plurals,
    Skill::Reading,
    Skill::Echo,
    Skill::Memory,
    Skill::Manners,
    Skill::Refusal,
];

/// How often each skill of a single short turn is drawn.
const SHORT: &[(Skill, u32)] = &[
    (Skill::Facts, 12),
    (Skill::Sums, 22),
    (Skill::Compare, 24),
    (Skill::Count, 14),
    (Skill::Opposites, 24),
    (Skill::Colours, 6),
    (Skill::Plurals, 8),
    (Skill::Reading, 34),
    (Skill::Echo, 8),
    (Skill::Manners, 3),
    (Skill::Refusal, 6),
];

/// A turn of any skill but stories and memory, which need more room.
pub fn draw_short(random: &mut Rng, split: Split) -> Turn {
    let total: u32 = SHORT.iter().map(|(_, weight)| weight).sum();
    let mut at = random.u32(..total);
    for &(skill, weight) in SHORT {
        if at < weight {
            return draw(random, split, skill);
        }
        at -= weight;
    }
    unreachable!("a draw below the sum of the weights")
}

/// A turn of a skill; memory has turns of its own ([`conversation`](super::conversation)).
pub fn draw(random: &mut Rng, split: Split, skill: Skill) -> Turn {
    split.draw(random, |random| {
        let (question, answer) = match skill {
            Skill::Story => return ask_for_story(random),
            Skill::Facts => fact(random),
            Skill::Sums => sum(random),
            Skill::Compare => compare(random),
            Skill::Count => count(random),
            Skill::Opposites => opposite(random),
            Skill::Colours => colour(random),
            Skill::Plurals => plural(random),
            Skill::Reading => reading(random),
            Skill::Echo => echo(random),
            Skill::Manners => manners(random),
            Skill::Refusal => (refused(random), REFUSAL.to_string()),
            Skill::Memory => unreachable!("memory is a matter of several turns"),
        };
        // Manners have too few questions to keep some away; all others are split by the question as asked.
        let key = if skill == Skill::Manners {
            format!("{}{}", question, random.u64(..))
        } else {
            question.clone()
        };
        let rule = Rule::Exactly(answer.clone());
        (key, Turn { question, answer, rule })
    })
}

impl Cast {
    /// What makes it this cast.
    pub fn key(&self) -> String {
        [
            &self.name,
            self.kind,
            self.feeling,
            self.place,
            self.colour,
            self.object,
        ]
        .join(" ")
    }
}

fn ask_for_story(random: &mut Rng) -> (String, Turn) {
    let cast = Cast::draw(random);
    let (request, asked): (&str, &[&str]) = pick(
        random,
        &[
            ("Tell me a story.", &[]),
            ("Please tell me a story.", &[]),
            ("Tell me a story about a {kind}.", &["{kind}"]),
            ("Tell me a story about a {kind} named {name}.", &["{kind}", "{name}"]),
            ("Tell me a story about {name}.", &["{name}"]),
            ("Tell me a story about {name} the {kind}.", &["{kind}", "{name}"]),
            (
                "Tell me a story about {name} the {kind} and a {object}.",
                &["{kind}", "{name}", "{object}"],
            ),
            (
                "Tell me a story about a {kind} and a {colour} {object}.",
                &["{kind}", "{colour} {object}"],
            ),
            ("Tell me a story about a {feeling} {kind}.", &["{feeling} {kind}"]),
            (
                "Tell me a story about a {feeling} {kind} named {name}.",
                &["{feeling} {kind}", "{name}"],
            ),
            ("Tell me a story about a {kind} {place}.", &["{kind}", "{place}"]),
            (
                "Tell me a story about a {kind} with a {object} {place}.",
                &["{kind}", "{object}", "{place}"],
            ),
            ("Tell me a story with a {object}.", &["{object}"]),
            ("Write a story about a {kind}.", &["{kind}"]),
            (
                "Write a story about {name} the {kind} {place}.",
                &["{kind}", "{name}", "{place}"],
            ),
            (
                "Write a little story about {name} and a {colour} {object}.",
                &["{name}", "{colour} {object}"],
            ),
            (
                "Write a story about a {feeling} {kind} {place}.",
                &["{feeling} {kind}", "{place}"],
            ),
            ("Can you tell me a story about a {kind}?", &["{kind}"]),
            (
                "Can you tell me a story about {name} the {kind}?",
                &["{kind}", "{name}"],
            ),
            ("I want a story about a {kind} and a {object}.", &["{kind}", "{object}"]),
            ("I want a story that happens {place}.", &["{place}"]),
        ],
    );
    let mut question = with_articles(&cast.fill(request));
    if random.f32() < 0.15 && !question.starts_with('I') {
        question = bare(&question);
    }
    let answer = cast.story(random);
    let rule = Rule::Story(asked.iter().map(|words| cast.fill(words)).collect());
    (cast.key(), Turn { question, answer, rule })
}

fn fact(random: &mut Rng) -> (String, String) {
    let (questions, answer) = pick(random, words::FACTS);
    let question = pick(random, questions);
    (dressed(random, question), answer.to_string())
}

/// The same question in other clothes: a polite word before or after it.
fn dressed(random: &mut Rng, question: &str) -> String {
    match random.u32(..10) {
        0 => format!("Please tell me: {}", uncapitalized(question)),
        1 => format!("Question: {question}"),
        2 => format!("I have a question. {question}"),
        3 => bare(question),
        4 => format!("Hello! {question}"),
        5 => format!("{question} Please tell me."),
        _ => question.to_string(),
    }
}

fn uncapitalized(sentence: &str) -> String {
    let mut characters = sentence.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// As one types in haste.
fn bare(sentence: &str) -> String {
    uncapitalized(sentence).trim_end_matches(['?', '.']).to_string()
}

fn sum(random: &mut Rng) -> (String, String) {
    let (a, b) = (random.u32(..=10), random.u32(..=10));
    let (sign, word, left, right, result) = match random.u32(..3) {
        0 => ("-", "minus", a + b, b, a),
        _ => ("+", "plus", a, b, a + b),
    };
    let question = match random.u32(..9) {
        0 => format!("What is {left} {word} {right}?"),
        1 => format!("How much is {left} {sign} {right}?"),
        2 => format!("{left} {sign} {right} = ?"),
        3 => format!("{left} {sign} {right}"),
        4 => format!("Can you tell me what {left} {word} {right} is?"),
        5 => format!("Please compute {left} {sign} {right}."),
        6 => format!("How much is {left} {word} {right}?"),
        _ => format!("What is {left} {sign} {right}?"),
    };
    (question, format!("{left} {sign} {right} = {result}."))
}

fn compare(random: &mut Rng) -> (String, String) {
    let a = random.u32(..=20);
    let b = (a + random.u32(1..=20)) % 21;
    let (larger, smaller) = (a.max(b), a.min(b));
    match random.u32(..6) {
        0 => (
            format!("Which is bigger, {a} or {b}?"),
            format!("{larger} is bigger than {smaller}."),
        ),
        1 => (
            format!("Which number is bigger: {a} or {b}?"),
            format!("{larger} is bigger than {smaller}."),
        ),
        2 => (
            format!("Which is smaller, {a} or {b}?"),
            format!("{smaller} is smaller than {larger}."),
        ),
        3 => (
            format!("Which number is smaller: {a} or {b}?"),
            format!("{smaller} is smaller than {larger}."),
        ),
        4 => {
            let answer = if a > b { "Yes" } else { "No" };
            (
                format!("Is {a} bigger than {b}?"),
                format!("{answer}, {larger} is bigger than {smaller}."),
            )
        }
        _ => {
            let answer = if a < b { "Yes" } else { "No" };
            (
                format!("Is {a} smaller than {b}?"),
                format!("{answer}, {smaller} is smaller than {larger}."),
            )
        }
    }
}

fn count(random: &mut Rng) -> (String, String) {
    let first = random.u32(1..=12);
    let last = first + random.u32(2..=8);
    let numbers: Vec<String> = (first..=last).map(|number| number.to_string()).collect();
    match random.u32(..5) {
        0 => (
            format!("Which number comes after {first}?"),
            format!("After {first} comes {}.", first + 1),
        ),
        1 => (
            format!("Which number comes before {first}?"),
            format!("Before {first} comes {}.", first - 1),
        ),
        2 => (
            format!("Please count from {first} to {last}."),
            numbers.join(", ") + ".",
        ),
        3 => (
            format!("Can you count from {first} to {last}?"),
            numbers.join(", ") + ".",
        ),
        _ => (format!("Count from {first} to {last}."), numbers.join(", ") + "."),
    }
}

fn opposite(random: &mut Rng) -> (String, String) {
    let (mut a, mut b) = pick(random, words::OPPOSITES);
    if random.bool() {
        (a, b) = (b, a);
    }
    let question = match random.u32(..5) {
        0 => format!("What is the opposite of \"{a}\"?"),
        1 => format!("Tell me the opposite of {a}."),
        2 => format!("Which word is the opposite of {a}?"),
        3 => format!("opposite of {a}"),
        _ => format!("What is the opposite of {a}?"),
    };
    (
        dressed_if_question(random, question),
        format!("The opposite of {a} is {b}."),
    )
}

fn dressed_if_question(random: &mut Rng, question: String) -> String {
    if question.ends_with('?') && question.starts_with('W') {
        dressed(random, &question)
    } else {
        question
    }
}

fn colour(random: &mut Rng) -> (String, String) {
    let (thing, colour) = pick(random, words::COLOURED);
    let question = match random.u32(..4) {
        0 => format!("What color is {thing}?"),
        1 => format!("Which colour does {thing} have?"),
        2 => format!("Tell me the colour of {thing}."),
        _ => format!("What colour is {thing}?"),
    };
    let answer = with_articles(&format!("{} is {colour}.", capital(thing)));
    (dressed_if_question(random, question), answer)
}

fn plural(random: &mut Rng) -> (String, String) {
    let (one, many) = pick(random, words::PLURALS);
    let question = match random.u32(..5) {
        0 => format!("What is the plural of \"{one}\"?"),
        1 => format!("Tell me the plural of {one}."),
        2 => format!("One {one}, two ...?"),
        3 => format!("I have one {one}. You have two. What do you have?"),
        _ => format!("What is the plural of {one}?"),
    };
    (dressed_if_question(random, question), format!("One {one}, two {many}."))
}

/// A little scene of two or three facts, and a question about one of them.
fn reading(random: &mut Rng) -> (String, String) {
    let names = distinct(random, 3, |random| name(random, None));
    let shown = random.usize(2..=3);
    let asked = random.usize(..shown);
    let (facts, question, answer): (Vec<String>, String, String) = match random.u32(..4) {
        0 => {
            let objects = distinct(random, 3, |random| pick(random, words::OBJECTS).to_string());
            let facts = (0..shown)
                .map(|i| format!("{} has a {}.", names[i], objects[i]))
                .collect();
            let (name, object) = (&names[asked], &objects[asked]);
            if random.bool() {
                (facts, format!("Who has the {object}?"), format!("It is {name}."))
            } else {
                (facts, format!("What does {name} have?"), format!("It is a {object}."))
            }
        }
        1 => {
            let colours = distinct(random, 3, |random| pick(random, words::COLOURS).to_string());
            let objects = distinct(random, 3, |random| pick(random, words::OBJECTS).to_string());
            let facts = (0..shown)
                .map(|i| format!("The {} is {}.", objects[i], colours[i]))
                .collect();
            let (object, colour) = (&objects[asked], &colours[asked]);
            if random.bool() {
                (
                    facts,
                    format!("What colour is the {object}?"),
                    format!("The {object} is {colour}."),
                )
            } else {
                (
                    facts,
                    format!("What is {colour}?"),
                    format!("The {object} is {colour}."),
                )
            }
        }
        2 => {
            let places = distinct(random, 3, |random| pick(random, words::SCENE_PLACES).to_string());
            let kinds = distinct(random, 3, |random| pick(random, &words::KINDS[..27]).to_string());
            let facts = (0..shown)
                .map(|i| format!("The {} is {}.", kinds[i], places[i]))
                .collect();
            let (kind, place) = (&kinds[asked], &places[asked]);
            if random.bool() {
                (
                    facts,
                    format!("Where is the {kind}?"),
                    format!("The {kind} is {place}."),
                )
            } else {
                (facts, format!("Who is {place}?"), format!("The {kind} is {place}."))
            }
        }
        _ => {
            let foods = distinct(random, 3, |random| pick(random, words::FOODS).to_string());
            let facts = (0..shown)
                .map(|i| format!("{} likes {}.", names[i], foods[i]))
                .collect();
            let (name, food) = (&names[asked], &foods[asked]);
            if random.bool() {
                (facts, format!("Who likes {food}?"), format!("It is {name}."))
            } else {
                (facts, format!("What does {name} like?"), format!("It is {food}."))
            }
        }
    };
    (
        with_articles(&format!("{} {question}", facts.join(" "))),
        with_articles(&answer),
    )
}

pub(super) fn distinct(random: &mut Rng, count: usize, draw: impl Fn(&mut Rng) -> String) -> Vec<String> {
    let mut drawn: Vec<String> = Vec::new();
    while drawn.len() < count {
        let next = draw(random);
        if !drawn.contains(&next) {
            drawn.push(next);
        }
    }
    drawn
}

/// Words to be said again: what copying is learned from.
fn echo(random: &mut Rng) -> (String, String) {
    let said: Vec<String> = (0..random.usize(1..=4))
        .map(|_| match random.u32(..3) {
            0 => name(random, None),
            1 => pick(random, words::OBJECTS).to_string(),
            _ => pick(random, words::KINDS).to_string(),
        })
        .collect();
    let said = said.join(" ");
    let request = pick(
        random,
        &["Say", "Please say", "Repeat", "Say after me", "Please repeat"],
    );
    (format!("{request}: {said}"), format!("I say: {said}"))
}

fn manners(random: &mut Rng) -> (String, String) {
    let (questions, answer): (&[&str], &str) = pick(
        random,
        &[
            (
                &["Hello!", "Hi!", "Hello", "Hi", "Hello there!", "Good day!", "Hey!"],
                "Hello! How can I help you?",
            ),
            (&["Good morning!", "Good morning"], "Good morning! How can I help you?"),
            (
                &[
                    "Thank you!",
                    "Thanks!",
                    "Thank you",
                    "Thanks a lot!",
                    "Thank you very much!",
                ],
                "You are welcome!",
            ),
            (
                &["Goodbye!", "Bye!", "Good night!", "Bye", "See you!"],
                "Goodbye! Come back soon.",
            ),
            (
                &["How are you?", "How are you today?", "Are you well?"],
                "I am well, thank you. How can I help you?",
            ),
            (
                &[
                    "Who are you?",
                    "What are you?",
                    "What is your name?",
                    "Tell me about yourself.",
                ],
                "I am Pocket, a very small language model.",
            ),
            (
                &["What can you do?", "How can you help me?", "What do you know?", "Help"],
                "I can tell little stories, answer simple questions and do small sums.",
            ),
        ],
    );
    (pick(random, questions).to_string(), answer.to_string())
}

pub const REFUSAL: &str = "I am sorry, I do not know that. My world is very small.";

fn refused(random: &mut Rng) -> String {
    match random.u32(..6) {
        0 => {
            let (a, b) = (random.u32(60..1000), random.u32(60..1000));
            let sign = pick(random, &["+", "-", "plus", "times", "minus"]);
            format!("What is {a} {sign} {b}?")
        }
        1 => {
            // No such thing as this.
            let unheard = name(random, None).to_lowercase();
            let question = pick(
                random,
                &[
                    "What colour is a {}?",
                    "What does a {} eat?",
                    "Where does a {} live?",
                    "What is a {}?",
                ],
            );
            question.replace("a {}", &article(&format!("z{unheard}")))
        }
        _ => pick(random, words::UNKNOWN_QUESTIONS).replace("{}", pick(random, words::UNKNOWN_TOPICS)),
    }
}
