//! Messages -> prompt ids, with special tokens from the template only.
//!
//! A content that spells `<|eot|>` must not end its turn. So contents are rendered between two marks that occur
//! nowhere else, special tokens are looked for outside of the marks only, and the text between two special tokens is
//! encoded as one run. The ids are therefore those of `apply_chat_template` whenever no content spells a special
//! token, and differ from them only in taking such a spelling literally.

use super::{ChatTemplate, Message, TextError, Tokenizer, tokenizer::Piece};

/// The ids of a conversation. As transformers has it, the template writes every special token that the model expects:
/// none is added to it.
pub fn encode_chat(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
) -> Result<Vec<u32>, TextError> {
    for (index, message) in messages.iter().enumerate() {
        if tokenizer.spells_special(&message.role) {
            return Err(TextError::SpecialTokenInRole {
                message: index,
                role: message.role.clone(),
            });
        }
    }
    let text = template.render(messages, add_generation_prompt)?;
    let mut ids = Vec::new();
    match marked_stretches(template, messages, add_generation_prompt, &text) {
        Some(stretches) => encode_stretches(tokenizer, &stretches, &mut ids)?,
        None => {
            // The template changes contents, so nothing tells its words from theirs; without special tokens in the
            // contents that does not matter.
            let spelled = messages
                .iter()
                .position(|message| tokenizer.spells_special(&message.content.texts().concat()));
            if let Some(message) = spelled {
                return Err(TextError::SpecialTokenInContent { message });
            }
            tokenizer.encode_into(&text, true, &mut ids)?;
        }
    }
    Ok(ids)
}

/// A part of the rendered text.
#[derive(Debug, PartialEq)]
struct Stretch {
    text: String,
    /// Written by the template, not by a message's content.
    template: bool,
}

/// `text` cut into what the template wrote and what the messages say; `None` if the template does more with a
/// content than to copy or trim it.
fn marked_stretches(
    template: &ChatTemplate,
    messages: &[Message],
    add_generation_prompt: bool,
    text: &str,
) -> Option<Vec<Stretch>> {
    // Noncharacters (never part of interchanged text) that do not happen to be in this one.
    let mut marks = ('\u{fdd0}'..='\u{fdef}').filter(|mark| !text.contains(*mark));
    let (open, close) = (marks.next()?, marks.next()?);
    // First the whole content between the marks; if the template trims, only what trimming leaves.
    let whole = |content: &str| format!("{open}{content}{close}");
    let trimmed = |content: &str| {
        let core = content.trim();
        let start = content.len() - content.trim_start().len();
        format!(
            "{}{open}{core}{close}{}",
            &content[..start],
            &content[start + core.len()..]
        )
    };
    [&whole as &dyn Fn(&str) -> String, &trimmed]
        .into_iter()
        .find_map(|mark| {
            let marked: Vec<Message> = messages
                .iter()
                .map(|message| Message {
                    role: message.role.clone(),
                    content: message.content.map(mark),
                })
                .collect();
            let marked = template.render(&marked, add_generation_prompt).ok()?;
            let stretches = cut(&marked, open, close)?;
            let unmarked: String = stretches.iter().map(|stretch| stretch.text.as_str()).collect();
            (unmarked == text).then_some(stretches)
        })
}

/// Cuts at the marks; `None` unless they come in pairs.
fn cut(marked: &str, open: char, close: char) -> Option<Vec<Stretch>> {
    let mut stretches = Vec::new();
    let mut rest = marked;
    while let Some((before, after)) = rest.split_once(open) {
        let (content, after) = after.split_once(close)?;
        if before.contains(close) || content.contains(open) {
            return None;
        }
        stretches.push(Stretch {
            text: before.to_owned(),
            template: true,
        });
        stretches.push(Stretch {
            text: content.to_owned(),
            template: false,
        });
        rest = after;
    }
    if rest.contains(close) {
        return None;
    }
    stretches.push(Stretch {
        text: rest.to_owned(),
        template: true,
    });
    Some(stretches)
}

fn encode_stretches(tokenizer: &Tokenizer, stretches: &[Stretch], ids: &mut Vec<u32>) -> Result<(), TextError> {
    let mut run = String::new();
    for stretch in stretches {
        if !stretch.template {
            run.push_str(&stretch.text);
            continue;
        }
        for piece in tokenizer.pieces(&stretch.text) {
            match piece {
                Piece::Ordinary(text) => run.push_str(text),
                Piece::Added(id) => {
                    tokenizer.encode_into(&std::mem::take(&mut run), false, ids)?;
                    ids.push(id);
                }
            }
        }
    }
    tokenizer.encode_into(&run, false, ids)
}
