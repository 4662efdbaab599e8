//! GPU time by kernel, from timestamp queries.

use std::collections::BTreeMap;

use super::{Gpu, GpuError};

/// What one kernel took while the GPU was profiled.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTime {
    pub kernel: &'static str,
    pub dispatches: u64,
    pub ms: f64,
}

/// A device allows at least this many queries in a set: two a dispatch.
const QUERIES: u32 = 4096;
const BYTES: u64 = 8;

/// Timestamps being collected.
pub(super) struct Profile {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    /// The kernels of the submit being recorded, in order.
    kernels: Vec<&'static str>,
    /// The kernels of each submit, and their timestamps on the way to the host.
    submits: Vec<(Vec<&'static str>, wgpu::Buffer)>,
}

impl Gpu {
    /// Whether this device can tell what a kernel took.
    pub fn has_timestamps(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// From now on every dispatch is timed, in a pass of its own. An error if the device has no timestamps.
    pub fn start_profile(&self) -> Result<(), GpuError> {
        if !self.has_timestamps() {
            return Err(GpuError::NoTimestamps);
        }
        *self.profile.lock().unwrap() = Some(Profile {
            queries: self.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count: QUERIES,
            }),
            resolved: self.buffer(
                "timestamps",
                u64::from(QUERIES) * BYTES,
                wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            ),
            kernels: Vec::new(),
            submits: Vec::new(),
        });
        Ok(())
    }

    /// Ends profiling: what each kernel took since it began, by name.
    pub async fn finish_profile(&self) -> Result<Vec<KernelTime>, GpuError> {
        let profile = self.profile.lock().unwrap().take();
        let mut times: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        for (kernels, staging) in profile.map_or(Vec::new(), |profile| profile.submits) {
            if 2 * kernels.len() > QUERIES as usize {
                let dispatches = kernels.len();
                let reason = format!(
                    "timing {dispatches} dispatches in one submit; at most {} can be",
                    QUERIES / 2
                );
                return Err(GpuError::Command(reason));
            }
            let stamps: Vec<u64> = self.finish(self.map(&staging)).await?;
            for (kernel, stamps) in kernels.into_iter().zip(stamps.as_chunks::<2>().0) {
                let (dispatches, ticks) = times.entry(kernel).or_default();
                *dispatches += 1;
                *ticks += stamps[1].saturating_sub(stamps[0]);
            }
        }
        let tick_ms = f64::from(self.queue.get_timestamp_period()) / 1e6;
        Ok(times
            .into_iter()
            .map(|(kernel, (dispatches, ticks))| KernelTime {
                kernel,
                dispatches,
                ms: ticks as f64 * tick_ms,
            })
            .collect())
    }
}

impl Profile {
    /// Where the next dispatch's pass writes its beginning and its end.
    pub fn time(&mut self, kernel: &'static str) -> Option<wgpu::ComputePassTimestampWrites<'_>> {
        let first = 2 * self.kernels.len() as u32;
        self.kernels.push(kernel);
        // A submit with more dispatches is refused when the profile is finished.
        (first < QUERIES).then_some(wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        })
    }

    /// Ends a submit: its timestamps go to a buffer of their own.
    pub fn resolve(&mut self, gpu: &Gpu, encoder: &mut wgpu::CommandEncoder) {
        let kernels = std::mem::take(&mut self.kernels);
        let queries = (2 * kernels.len() as u32).min(QUERIES);
        if queries > 0 {
            let staging = gpu.staging("timestamps", u64::from(queries) * BYTES);
            encoder.resolve_query_set(&self.queries, 0..queries, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &staging, 0, staging.size());
            self.submits.push((kernels, staging));
        }
    }
}
