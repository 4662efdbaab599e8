//! Strings that end a generation.

use super::TextError;

/// Watches streamed text for stop strings. Text is held back only while it could still be the beginning of one, so
/// how the text was cut into pieces changes neither what is given out in total nor where it ends.
#[derive(Debug)]
pub struct StopStrings {
    stops: Vec<String>,
    /// The longest end of the text so far that is the beginning of a stop string.
    held: String,
    stopped: Option<usize>,
}

/// The text to show after a piece, and whether it is the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopStep {
    pub text: String,
    /// Index of the stop string that was met; the text before it has been given out, it and what follows never are.
    pub stopped: Option<usize>,
}

impl StopStrings {
    pub fn new(stops: Vec<String>) -> Result<Self, TextError> {
        if let Some(index) = stops.iter().position(String::is_empty) {
            return Err(TextError::EmptyStopString { index });
        }
        Ok(StopStrings {
            stops,
            held: String::new(),
            stopped: None,
        })
    }

    /// Takes the next piece of text. The stop string that is complete first ends the text; of several complete at
    /// the same character, the longest. After that every further piece gives nothing.
    pub fn push(&mut self, piece: &str) -> StopStep {
        if self.stopped.is_some() {
            return StopStep {
                text: String::new(),
                stopped: self.stopped,
            };
        }
        self.held.push_str(piece);
        let matches = self.stops.iter().enumerate().filter_map(|(index, stop)| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start, index))
        });
        if let Some((_, start, index)) = matches.min() {
            self.stopped = Some(index);
            self.held.truncate(start);
            return StopStep {
                text: std::mem::take(&mut self.held),
                stopped: self.stopped,
            };
        }
        let kept = self.held.split_off(self.held.len() - self.held_bytes());
        StopStep {
            text: std::mem::replace(&mut self.held, kept),
            stopped: None,
        }
    }

    /// At the end of the generation: the text still held back.
    pub fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of `held` with which a stop string begins.
    fn held_bytes(&self) -> usize {
        let longest_bytes = self.stops.iter().map(|stop| stop.len() - 1).max().unwrap_or(0);
        let ends = self.held.char_indices().map(|(offset, _)| &self.held[offset..]);
        ends.filter(|end| end.len() <= longest_bytes)
            .find(|end| self.stops.iter().any(|stop| stop.starts_with(end)))
            .map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character at a time, by definition: stop at the first character that completes a stop string.
    fn expected(text: &str, stops: &[&str]) -> (String, bool) {
        for (offset, character) in text.char_indices() {
            let seen = &text[..offset + character.len_utf8()];
            if let Some(longest) = stops
                .iter()
                .filter(|stop| seen.ends_with(**stop))
                .map(|stop| stop.len())
                .max()
            {
                return (seen[..seen.len() - longest].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    fn streamed(pieces: &[&str], stops: &[&str]) -> (String, bool) {
        let mut watcher = StopStrings::new(stops.iter().map(|stop| stop.to_string()).collect()).unwrap();
        let mut text = String::new();
        for piece in pieces {
            let step = watcher.push(piece);
            text += &step.text;
            if step.stopped.is_some() {
                assert_eq!(watcher.push("more").text, "");
                return (text, true);
            }
        }
        (text + &watcher.flush(), false)
    }

    #[test]
    fn every_split_gives_the_same() {
        let sets: [&[&str]; 7] = [
            &[],
            &["\n\n"],
            &["abcd", "bc"],
            &["aab"],
            &["aa", "aaa"],
            &["é🙂", "🙂"],
            &["<|eot|>", "<|e", "User:"],
        ];
        let texts = [
            "",
            "abcabcd",
            "aaab",
            "xaaay",
            "one\n\ntwo",
            "a\nb\n",
            "ééé🙂🙂",
            "<|eo<|eot|>",
            "User",
            "Us User: hi",
        ];
        for stops in sets {
            for text in texts {
                let expected = expected(text, stops);
                let cuts: Vec<usize> = text
                    .char_indices()
                    .map(|(offset, _)| offset)
                    .chain([text.len()])
                    .collect();
                for &first in &cuts {
                    for &second in cuts.iter().filter(|&&second| second >= first) {
                        let pieces = [&text[..first], &text[first..second], &text[second..]];
                        assert_eq!(streamed(&pieces, stops), expected, "{pieces:?} with {stops:?}");
                    }
                }
                let characters: Vec<String> = text.chars().map(String::from).collect();
                let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
                assert_eq!(streamed(&characters, stops), expected, "{characters:?} with {stops:?}");
            }
        }
    }

    #[test]
    fn only_a_possible_beginning_is_withheld() {
        let mut watcher = StopStrings::new(vec!["STOP".into()]).unwrap();
        assert_eq!(watcher.push("go ST").text, "go ");
        assert_eq!(watcher.push("AY S").text, "STAY ");
        assert_eq!(
            watcher.push("TOP!"),
            StopStep {
                text: String::new(),
                stopped: Some(0)
            }
        );
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        let error = StopStrings::new(vec!["a".into(), String::new()]).unwrap_err();
        assert_eq!(error.to_string(), "stop[1] is empty; expected at least one character");
    }
}
