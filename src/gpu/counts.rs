//! What was asked of the GPU.

use std::sync::{Arc, Mutex};

/// How often each thing was done since the device was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub dispatches: u64,
    pub passes: u64,
    pub submits: u64,
    /// Bytes that the host mapped to read.
    pub read_back_bytes: u64,
    /// Copies from host memory into a buffer.
    pub writes: u64,
    pub written_bytes: u64,
    pub bind_groups: u64,
    pub buffers: u64,
}

/// A view of the counts that can be kept while the GPU is in use.
#[derive(Clone, Default)]
pub struct Counter(Arc<Mutex<Counts>>);

impl Counter {
    pub fn now(&self) -> Counts {
        *self.0.lock().unwrap()
    }

    pub(super) fn add(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.0.lock().unwrap());
    }
}

impl Counts {
    pub fn plus(self, other: Counts) -> Counts {
        self.combine(other, |a, b| a + b)
    }

    /// What was done after `before`.
    pub fn since(self, before: Counts) -> Counts {
        self.combine(before, |a, b| a - b)
    }

    fn combine(self, other: Counts, each: impl Fn(u64, u64) -> u64) -> Counts {
        Counts {
            dispatches: each(self.dispatches, other.dispatches),
            passes: each(self.passes, other.passes),
            submits: each(self.submits, other.submits),
            read_back_bytes: each(self.read_back_bytes, other.read_back_bytes),
            writes: each(self.writes, other.writes),
            written_bytes: each(self.written_bytes, other.written_bytes),
            bind_groups: each(self.bind_groups, other.bind_groups),
            buffers: each(self.buffers, other.buffers),
        }
    }
}
