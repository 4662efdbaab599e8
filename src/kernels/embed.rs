//! x[token] = embedding[id].

use super::Matrix;
use crate::{
    config::ModelConfig,
    gpu::{Access, Dispatch, Gpu, Kernel},
};

pub struct Embed(Kernel);

impl Embed {
    pub fn new(gpu: &Gpu, config: &ModelConfig) -> Embed {
        let constants = [("HIDDEN", config.hidden_size.into())];
        let bindings = [
            Access::Read,
            Access::Read,
            Access::Read,
            Access::Read,
            Access::ReadWrite,
        ];
        Embed(Kernel::new(
            gpu,
            "embed",
            include_str!("../../shaders/embed.wgsl"),
            &constants,
            &bindings,
        ))
    }

    pub fn bind(
        &self,
        gpu: &Gpu,
        step: &wgpu::Buffer,
        tokens: &wgpu::Buffer,
        embedding: [&wgpu::Buffer; 2],
        x: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        self.0.bind(
            gpu,
            &[step, tokens, embedding[0], embedding[1], x].map(wgpu::Buffer::as_entire_binding),
        )
    }

    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, count: usize) -> Dispatch<'a> {
        Dispatch {
            kernel: &self.0,
            bind_group,
            workgroups: [count as u32, 1, 1].into(),
        }
    }
}

/// The twin: `[tokens, hidden]`.
pub fn embed(embedding: &Matrix, ids: &[u32]) -> Vec<f32> {
    ids.iter().flat_map(|id| embedding.row(*id as usize)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::*;

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(1);
        for (vocab, hidden) in [(64, 32), (100, 96), (513, 768)] {
            let config = ModelConfig {
                vocab_size: vocab,
                hidden_size: hidden,
                ..config(&mut random)
            };
            let table = int4(&mut random, vocab, hidden);
            let ids: Vec<u32> = (0..9).map(|_| random.u32(..vocab as u32)).collect();
            let kernel = Embed::new(&gpu, &config);
            let x = gpu.storage("x", (ids.len() * hidden * 4) as u64);
            let buffers = table.upload(&gpu);
            let bind_group = kernel.bind(
                &gpu,
                &step(&gpu, 0, ids.len()),
                &gpu.upload("tokens", &ids),
                [&buffers[0], &buffers[1]],
                &x,
            );
            run(&gpu, kernel.dispatch(&bind_group, ids.len()));
            assert_close(&read(&gpu, &x), &embed(&table.matrix(), &ids), 0.0);
        }
    }
}
