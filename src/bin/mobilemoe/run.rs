//! `mobilemoe run`: a prompt in, text out as it comes.

use clap::Args;
use mobilemoe_web::{
    Result,
    engine::Generation,
    text::{Message, Text},
};
use pollster::block_on;

use crate::{
    generate::{SamplingArgs, generate},
    model::{Ids, ModelArgs},
    terminal::print,
};

/// Answer a prompt on the GPU; text goes to stdout as it comes, figures to stderr.
///
/// With a chat template in the repository the prompt is one user message; without (Base models), or with --raw, it is
/// continued as it is.
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    model: ModelArgs,
    #[arg(long, required_unless_present = "ids", conflicts_with = "ids")]
    prompt: Option<String>,
    /// Token ids instead of text: ids are printed
    #[arg(long)]
    ids: Option<Ids>,
    /// Do not render the chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
}

impl Run {
    pub fn run(self) -> Result<()> {
        let generation = match (&self.ids, &self.prompt) {
            (Some(ids), _) => self.continue_ids(&ids.0)?,
            (None, prompt) => self.answer(prompt.as_deref().unwrap_or_default())?,
        };
        let (prompt, answer) = (generation.prompt_tokens, generation.tokens.len());
        eprintln!(
            "{prompt} tokens read in {:.0} ms, {answer} written at {:.1} ms each ({:?})",
            generation.prefill_ms,
            // The first token belongs to the prefill.
            generation.decode_ms / (answer.max(2) - 1) as f64,
            generation.finish,
        );
        Ok(())
    }

    fn continue_ids(&self, ids: &[u32]) -> Result<Generation> {
        let mut engine = self.model.engine()?;
        let options = self.sampling.options(engine.config().eos_token_ids.clone());
        let generation = generate(&mut engine, ids, &options, &mut |id| print(&format!("{id} ")))?;
        print("\n")?;
        Ok(generation)
    }

    fn answer(&self, prompt: &str) -> Result<Generation> {
        let text = block_on(Text::open(self.model.checkpoint()?.repository()))?;
        let is_base = matches!(text.template(), Err(error) if error.code() == "MissingChatTemplate");
        let ids = if self.raw || is_base {
            text.tokenizer.encode(prompt, true, false)?
        } else {
            text.encode_chat(&[Message::new("user", prompt)], true)?
        };
        let mut engine = self.model.engine()?;
        let options = self.sampling.options(text.stop_token_ids);
        let mut detokenizer = text.tokenizer.detokenizer(true);
        let generation = generate(&mut engine, &ids, &options, &mut |id| print(&detokenizer.push(id)?))?;
        print(&(detokenizer.flush() + "\n"))?;
        Ok(generation)
    }
}
