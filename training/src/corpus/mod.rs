//! The corpus: a grammar of little stories and little conversations, endless and reproducible from a seed.
//!
//! A text is held out if the hash of what makes it this text (its question, or its story's cast) says so: such texts are
//! never trained on, only measured on.

mod chat;
mod rule;
mod skills;
mod story;
mod words;

use fastrand::Rng;

pub use chat::{Turn, conversation, long_conversation, short_conversation};
pub use rule::Rule;
pub use skills::{SKILLS, Skill};
pub use story::Cast;

/// Which texts are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    Train,
    HeldOut,
}

/// One text in this many is held out.
const HELD_OUT: u64 = 16;

impl Split {
    /// Whether a text known by this key belongs here.
    fn has(self, key: &str) -> bool {
        (hash(key).is_multiple_of(HELD_OUT)) == (self == Split::HeldOut)
    }

    /// Draws until a text belongs here.
    fn draw<T>(self, random: &mut Rng, draw: impl Fn(&mut Rng) -> (String, T)) -> T {
        loop {
            let (key, text) = draw(random);
            if self.has(&key) {
                return text;
            }
        }
    }
}

/// A plain story.
pub fn story(random: &mut Rng, split: Split) -> String {
    split.draw(random, |random| {
        let cast = Cast::draw(random);
        (cast.key(), cast.story(random))
    })
}

/// A plain text that says something: a few short statements of one skill.
pub fn statements(random: &mut Rng, split: Split) -> String {
    let mut text = String::new();
    for _ in 0..random.usize(4..10) {
        let turn = skills::draw_short(random, split);
        text += &format!("{} {}\n", turn.question, turn.answer);
    }
    text
}

/// Words and names without any sense.
pub fn word_list(random: &mut Rng) -> String {
    let words: Vec<String> = (0..random.usize(3..16))
        .map(|_| {
            let list = pick(
                random,
                &[
                    words::OBJECTS,
                    words::KINDS,
                    words::RARE_KINDS,
                    words::COLOURS,
                    words::FOODS,
                    words::FEELINGS,
                ],
            );
            match random.u32(..3) {
                0 => name(random, None),
                _ => pick(random, list).to_string(),
            }
        })
        .collect();
    words.join(" ")
}

fn hash(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    // The low bits of FNV alone are not even.
    (fnv ^ (fnv >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

fn pick<T: Copy>(random: &mut Rng, from: &[T]) -> T {
    from[random.usize(..from.len())]
}

/// A name from the lists, or often one that nobody has.
fn name(random: &mut Rng, female: Option<bool>) -> String {
    if random.f32() < 0.4 {
        let mut name = pick(random, words::NAME_BEGINNINGS).to_string();
        if random.f32() < 0.3 {
            name += pick(random, &words::NAME_ENDINGS[..27]);
        }
        return name + pick(random, words::NAME_ENDINGS);
    }
    let female = female.unwrap_or_else(|| random.bool());
    pick(random, if female { words::GIRLS } else { words::BOYS }).to_string()
}

fn capital(word: &str) -> String {
    let mut characters = word.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// "a owl" -> "an owl".
fn with_articles(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut out = String::new();
    for (i, word) in words.iter().enumerate() {
        if i > 0 {
            out.push(' ');
        }
        out.push_str(word);
        let vowel = |word: &&&str| word.starts_with(['a', 'e', 'i', 'o', 'u']) && !word.starts_with("uni");
        if matches!(*word, "a" | "A") && words.get(i + 1).as_ref().is_some_and(vowel) {
            out.push('n');
        }
    }
    out
}

fn article(noun: &str) -> String {
    with_articles(&format!("a {noun}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_right_answer_is_right_by_its_own_rule() {
        let mut random = Rng::with_seed(3);
        for skill in SKILLS {
            for _ in 0..500 {
                let chat = conversation(&mut random, Split::Train, skill);
                let Turn { question, answer, rule } = chat.last().expect("a turn");
                assert!(rule.holds(answer, true), "{question}\n{answer}\n{rule:?}");
            }
        }
    }

    #[test]
    fn held_out_questions_are_never_trained_on() {
        let mut random = Rng::with_seed(4);
        let questions = |split: Split, count: usize, random: &mut Rng| -> HashSet<String> {
            let skills = SKILLS
                .into_iter()
                .filter(|skill| !matches!(skill, Skill::Story | Skill::Memory | Skill::Manners));
            let drawn = skills.flat_map(|skill| (0..count).map(move |_| skill));
            drawn.map(|skill| skills::draw(random, split, skill).question).collect()
        };
        let trained = questions(Split::Train, 4000, &mut random);
        let held_out = questions(Split::HeldOut, 300, &mut random);
        assert!(held_out.len() > 1000);
        assert!(trained.is_disjoint(&held_out));
    }

    #[test]
    fn stories_are_all_different() {
        let mut random = Rng::with_seed(5);
        let stories: HashSet<String> = (0..50_000).map(|_| story(&mut random, Split::Train)).collect();
        assert_eq!(stories.len(), 50_000);
    }

    #[test]
    fn articles_fit() {
        assert_eq!(
            with_articles("A owl and a unicorn met a old cat."),
            "An owl and a unicorn met an old cat."
        );
    }
}
