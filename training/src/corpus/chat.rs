//! Conversations: single questions, and longer ones in which what was said before counts.

use fastrand::Rng;

use super::{
    Rule, Skill, Split, name, pick,
    skills::{draw, draw_short},
    words,
};

/// A question and its answer.
#[derive(Debug, Clone)]
pub struct Turn {
    pub question: String,
    pub answer: String,
    pub rule: Rule,
}

pub type Chat = Vec<Turn>;

/// What the user told about themselves.
struct Told {
    statement: String,
    reply: String,
    questions: &'static [&'static str],
    answer: String,
    /// The answer to the same question when nothing was told.
    unknown: &'static str,
}

fn told(random: &mut Rng) -> Told {
    match random.u32(..8) {
        0..4 => {
            let name = name(random, None);
            let statement = pick(
                random,
                &["My name is {}.", "I am {}.", "Hello, I am {}.", "Hi! My name is {}."],
            );
            Told {
                statement: statement.replace("{}", &name),
                reply: format!("Nice to meet you, {name}!"),
                questions: &[
                    "What is my name?",
                    "Do you know my name?",
                    "Who am I?",
                    "Do you remember my name?",
                ],
                answer: format!("Your name is {name}."),
                unknown: "You have not told me your name.",
            }
        }
        4 => {
            let colour = pick(random, words::COLOURS);
            let statement = pick(random, &["My favourite colour is {}.", "I like the colour {}."]);
            Told {
                statement: statement.replace("{}", colour),
                reply: format!("What a nice colour {colour} is!"),
                questions: &["What is my favourite colour?", "Which colour do I like?"],
                answer: format!("Your favourite colour is {colour}."),
                unknown: "You have not told me your favourite colour.",
            }
        }
        5 => {
            let food = pick(random, words::FOODS);
            let statement = pick(random, &["I like to eat {}.", "My favourite food is {}."]);
            Told {
                statement: statement.replace("{}", food),
                reply: format!("Mmm, {food}! That sounds good."),
                questions: &["What do I like to eat?", "What is my favourite food?"],
                answer: format!("You like to eat {food}."),
                unknown: "You have not told me what you like to eat.",
            }
        }
        6 => {
            let (kind, name) = (pick(random, words::PETS), name(random, None));
            let statement = pick(random, &["I have a {kind} named {}.", "My {kind} is called {}."]);
            Told {
                statement: statement.replace("{kind}", kind).replace("{}", &name),
                reply: format!("What a good name for a {kind}: {name}!"),
                questions: &["What is the name of my pet?", "What is my pet called?"],
                answer: format!("Your {kind} is called {name}."),
                unknown: "You have not told me about a pet.",
            }
        }
        _ => {
            let town = name(random, None) + pick(random, &["ville", "town", "burg", "field"]);
            Told {
                statement: format!("I live in {town}."),
                reply: format!("I am sure that {town} is a nice place!"),
                questions: &["Where do I live?", "Do you know where I live?"],
                answer: format!("You live in {town}."),
                unknown: "You have not told me where you live.",
            }
        }
    }
}

impl Told {
    fn tell(&self) -> Turn {
        Turn {
            question: self.statement.clone(),
            answer: self.reply.clone(),
            rule: Rule::Exactly(self.reply.clone()),
        }
    }

    fn ask(&self, random: &mut Rng, answer: &str) -> Turn {
        Turn {
            question: pick(random, self.questions).to_string(),
            answer: answer.to_string(),
            rule: Rule::Exactly(answer.to_string()),
        }
    }
}

/// The user tells something, talks of other things for up to `between` turns, and asks for it.
/// An `opening` may ask for it before.
fn remembered(random: &mut Rng, split: Split, between: usize, opening: bool) -> Chat {
    let told = split.draw(random, |random| {
        let told = told(random);
        (told.statement.clone(), told)
    });
    let mut chat = Chat::new();
    if opening && random.f32() < 0.1 {
        // Asked too early.
        chat.push(told.ask(random, told.unknown));
    }
    chat.push(told.tell());
    for _ in 0..random.usize(..=between) {
        chat.push(draw_short(random, split));
    }
    chat.push(told.ask(random, &told.answer));
    chat
}

/// A story, and a question about it.
fn story_and_question(random: &mut Rng, split: Split) -> Chat {
    let story = draw(random, split, Skill::Story);
    if random.bool() {
        return vec![story];
    }
    let thanks = Turn {
        question: pick(random, &["Thank you!", "Thanks!", "Thank you"]).to_string(),
        answer: "You are welcome!".to_string(),
        rule: Rule::Exactly("You are welcome!".to_string()),
    };
    vec![story, thanks]
}

/// A conversation whose last turn is of this skill: what the quiz asks. Memory is asked two turns or more later.
pub fn conversation(random: &mut Rng, split: Split, skill: Skill) -> Chat {
    match skill {
        Skill::Memory => loop {
            let chat = remembered(random, split, 3, false);
            if chat.len() >= 4 {
                return chat;
            }
        },
        _ => vec![draw(random, split, skill)],
    }
}

/// A conversation of a few turns, of any skill. Only an `opening` may ask for what was never told.
pub fn short_conversation(random: &mut Rng, split: Split, opening: bool) -> Chat {
    match random.u32(..100) {
        0..30 => story_and_question(random, split),
        30..54 => remembered(random, split, 3, opening),
        _ => (0..random.usize(1..=4)).map(|_| draw_short(random, split)).collect(),
    }
}

/// A conversation that goes on, with things to remember over many turns.
pub fn long_conversation(random: &mut Rng, split: Split, turns: usize) -> Chat {
    let mut chat = Chat::new();
    while chat.len() < turns {
        if random.f32() < 0.3 {
            chat.extend(remembered(random, split, 10, chat.is_empty()));
        } else {
            chat.extend(short_conversation(random, split, chat.is_empty()));
        }
    }
    chat
}
