//! When an answer is right: exact rules, no judgement.

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Rule {
    /// This text, word for word.
    Exactly(String),
    /// A whole story in which all of these words occur.
    Story(Vec<String>),
}

/// Sentences of a story that repeats none of them.
const FEWEST_SENTENCES: usize = 5;

impl Rule {
    /// `finished`: the model itself ended the answer.
    pub fn holds(&self, answer: &str, finished: bool) -> bool {
        finished
            && match self {
                Rule::Exactly(expected) => answer.trim() == expected,
                Rule::Story(words) => is_story(answer) && words.iter().all(|word| says(answer, word)),
            }
    }
}

/// Enough sentences, none twice, "The end." at the end and nowhere else.
fn is_story(text: &str) -> bool {
    let Some(body) = text.trim().strip_suffix("The end.") else {
        return false;
    };
    let sentences: Vec<&str> = body
        .split_inclusive(['.', '!', '?'])
        .map(str::trim)
        .filter(|s| s.len() > 1)
        .collect();
    let repeats = sentences
        .iter()
        .enumerate()
        .any(|(i, sentence)| sentences[..i].contains(sentence));
    sentences.len() >= FEWEST_SENTENCES && !repeats && !body.contains("The end")
}

/// Whether a word (or words) occurs, not as a part of a longer one.
fn says(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + words.len()..].chars().next();
        [before, after]
            .iter()
            .flatten()
            .all(|neighbour| !neighbour.is_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_word_for_word() {
        let rule = Rule::Exactly("3 + 4 = 7.".into());
        assert!(rule.holds("3 + 4 = 7.", true));
        assert!(!rule.holds("3 + 4 = 7.", false));
        assert!(!rule.holds("3 + 4 = 17.", true));
    }

    #[test]
    fn a_story_needs_its_words_an_end_and_no_repetition() {
        let rule = Rule::Story(vec!["Ada".into(), "red ball".into()]);
        let story = "Ada was a fox. Ada had a red ball. It was lost. It was found. All were glad. The end.";
        assert!(rule.holds(story, true));
        assert!(!rule.holds(&story.replace("Ada", "Adam"), true));
        assert!(!rule.holds(&story.replace("red ball", "ball"), true));
        assert!(!rule.holds(&story.replace(" The end.", ""), true));
        assert!(!rule.holds(&story.replace("It was found.", "It was lost."), true));
        assert!(!rule.holds("Ada had a red ball. The end.", true));
    }
}
