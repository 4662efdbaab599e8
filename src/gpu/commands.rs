//! One submit: compute passes and copies, recorded in order. Everything is counted where it is recorded.

use super::{Gpu, profile::Profile};

/// The commands of one submit; nothing happens before [`submit`](Commands::submit).
pub struct Commands<'a> {
    gpu: &'a Gpu,
    encoder: wgpu::CommandEncoder,
    /// While the GPU is being profiled.
    profile: Option<Profile>,
}

/// A compute pass. While the GPU is being profiled each dispatch gets a pass of its own, because timestamps are taken at
/// the borders of passes.
pub struct Pass<'a> {
    gpu: &'a Gpu,
    recording: Recording<'a>,
}

enum Recording<'a> {
    OnePass(Box<wgpu::ComputePass<'a>>),
    PassEach(&'a mut wgpu::CommandEncoder, &'a mut Profile),
}

impl Gpu {
    pub fn commands(&self) -> Commands<'_> {
        Commands {
            gpu: self,
            encoder: self.device.create_command_encoder(&Default::default()),
            profile: self.profile.lock().unwrap().take(),
        }
    }
}

impl Commands<'_> {
    /// Records a compute pass.
    pub fn pass(&mut self, encode: impl FnOnce(&mut Pass)) {
        let gpu = self.gpu;
        let recording = match &mut self.profile {
            None => {
                gpu.count(|counts| counts.passes += 1);
                Recording::OnePass(Box::new(self.encoder.begin_compute_pass(&Default::default())))
            }
            Some(profile) => Recording::PassEach(&mut self.encoder, profile),
        };
        encode(&mut Pass { gpu, recording });
    }

    /// Copies `bytes` from the beginning of one buffer to the beginning of another.
    pub fn copy(&mut self, from: &wgpu::Buffer, to: &wgpu::Buffer, bytes: u64) {
        self.copy_part((from, 0), (to, 0), bytes);
    }

    /// Copies `bytes` between places in two buffers, each with its offset in bytes.
    pub fn copy_part(&mut self, from: (&wgpu::Buffer, u64), to: (&wgpu::Buffer, u64), bytes: u64) {
        self.encoder.copy_buffer_to_buffer(from.0, from.1, to.0, to.1, bytes);
    }

    pub fn submit(mut self) {
        if let Some(mut profile) = self.profile.take() {
            profile.resolve(self.gpu, &mut self.encoder);
            *self.gpu.profile.lock().unwrap() = Some(profile);
        }
        self.gpu.count(|counts| counts.submits += 1);
        self.gpu.queue.submit([self.encoder.finish()]);
    }
}

impl Pass<'_> {
    /// Records one dispatch of `kernel`.
    pub(super) fn dispatch(&mut self, kernel: &'static str, encode: impl FnOnce(&mut wgpu::ComputePass)) {
        self.gpu.count(|counts| counts.dispatches += 1);
        match &mut self.recording {
            Recording::OnePass(pass) => encode(pass),
            Recording::PassEach(encoder, profile) => {
                self.gpu.count(|counts| counts.passes += 1);
                encode(&mut encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(kernel),
                    timestamp_writes: profile.time(kernel),
                }));
            }
        }
    }
}
