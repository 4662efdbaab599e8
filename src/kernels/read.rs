//! Reading, and next to nothing else: what a device's memory gives, to hold the other kernels against.

use crate::gpu::{Access, Dispatch, Gpu, Kernel};

pub struct Read(Kernel);

/// Of 64 threads each: enough to keep any GPU busy.
const MAX_WORKGROUPS: u64 = 1024;
/// What a workgroup reads at least: 16 vectors a thread.
const WORKGROUP_BYTES: u64 = 64 * 16 * 16;

impl Read {
    /// `neighbours`: threads read side by side; otherwise each has a run of its own.
    pub fn new(gpu: &Gpu, neighbours: bool) -> Read {
        let constants = [("NEIGHBOURS", neighbours.into())];
        let bindings = [Access::Read, Access::ReadWrite];
        let source = include_str!("../../shaders/read.wgsl");
        Read(Kernel::new(gpu, "read", source, &constants, &bindings))
    }

    /// A buffer for the result: one word a thread.
    pub fn folded(gpu: &Gpu) -> wgpu::Buffer {
        gpu.storage("folded", MAX_WORKGROUPS * 64 * 4)
    }

    pub fn bind(&self, gpu: &Gpu, words: &wgpu::Buffer, folded: &wgpu::Buffer) -> wgpu::BindGroup {
        self.0.bind(gpu, &[words, folded].map(wgpu::Buffer::as_entire_binding))
    }

    /// `bytes`: the length of the words that are bound.
    pub fn dispatch<'a>(&'a self, bind_group: &'a wgpu::BindGroup, bytes: u64) -> Dispatch<'a> {
        let workgroups = (bytes / WORKGROUP_BYTES).clamp(1, MAX_WORKGROUPS);
        Dispatch {
            kernel: &self.0,
            bind_group,
            workgroups: [workgroups as u32, 1, 1].into(),
        }
    }
}

/// The twin: all words folded into one, which the threads' words fold into.
pub fn read(words: &[u32]) -> u32 {
    words.iter().fold(0, |fold, word| fold ^ word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::{run, setup};

    #[test]
    fn gpu_equals_twin() {
        let (gpu, mut random) = setup(15);
        for case in 0..8 {
            let words: Vec<u32> = (0..4 * random.usize(1..200_000)).map(|_| random.u32(..)).collect();
            let kernel = Read::new(&gpu, case % 2 == 0);
            let folded = Read::folded(&gpu);
            let bind_group = kernel.bind(&gpu, &gpu.upload("words", &words), &folded);
            run(&gpu, kernel.dispatch(&bind_group, 4 * words.len() as u64));
            let threads: Vec<u32> = pollster::block_on(gpu.read(&folded)).unwrap();
            assert_eq!(read(&threads), read(&words));
        }
    }
}
