//! A conversation: a KV cache and the tokens it holds.

use crate::{
    Result,
    gpu::Pass,
    kernels::Step,
    model::{KvCache, Model},
};

pub struct Session {
    pub(super) cache: KvCache,
    /// The tokens whose keys and values are in the cache.
    pub(super) tokens: Vec<u32>,
}

impl Session {
    pub(super) async fn new(model: &Model) -> Result<Session> {
        Ok(Session {
            cache: KvCache::new(model).await?,
            tokens: Vec::new(),
        })
    }

    /// The tokens that need not be computed again.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// GPU memory of the KV cache, in bytes.
    pub fn bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Holds `ids` with random keys and values in place of theirs, see [`KvCache::fill`].
    pub(super) async fn pretend(&mut self, model: &Model, ids: &[u32]) -> Result<()> {
        self.cache.fill(model, ids.len()).await?;
        self.tokens = ids.to_vec();
        Ok(())
    }

    pub(super) async fn fork(&self, model: &Model) -> Result<Session> {
        Ok(Session {
            cache: self.cache.fork(model, self.tokens.len()).await?,
            tokens: self.tokens.clone(),
        })
    }

    /// Forgets everything from the first token on that `ids` does not share; the last of `ids` is forgotten too,
    /// because its logits are wanted. Returns how many tokens stay.
    pub(super) fn keep_prefix_of(&mut self, ids: &[u32]) -> usize {
        let shared = self
            .tokens
            .iter()
            .zip(ids)
            .take_while(|(held, wanted)| held == wanted)
            .count();
        self.tokens.truncate(shared.min(ids.len() - 1));
        self.tokens.len()
    }

    /// Submits one pass over `ids` after the tokens held. `then` may add to it: the last token's logits, a choice, which
    /// is copied to `chosen`.
    pub(super) async fn feed(
        &mut self,
        model: &Model,
        ids: &[u32],
        chosen: Option<&wgpu::Buffer>,
        then: impl FnOnce(&mut Pass),
    ) -> Result<()> {
        self.cache.reserve(model, self.tokens.len() + ids.len()).await?;
        let step = Step {
            position: self.tokens.len() as u32,
            count: ids.len() as u32,
            head_row: (ids.len() - 1) as u32,
            head_rows: 1,
        };
        model.gpu.write(&model.scratch.tokens, 0, bytemuck::cast_slice(ids));
        model.submit(Some(step), chosen, |pass| {
            model.forward(pass, &self.cache, self.tokens.len(), ids.len());
            then(pass);
        });
        self.tokens.extend_from_slice(ids);
        Ok(())
    }
}
