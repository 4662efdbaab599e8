//! Where a layer's tensors lie in the layer's one GPU buffer.

use std::collections::BTreeMap;

/// Byte offsets of a layer's tensors, by name without the `model.layers.{i}.` prefix. Tensors lie in the file's
/// order, one behind the other, each on a 16-byte border.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerLayout {
    offsets: BTreeMap<String, u64>,
    bytes: u64,
}

impl LayerLayout {
    /// `tensors`: name without the layer prefix, length in bytes.
    pub fn new<'a>(tensors: impl IntoIterator<Item = (&'a str, u64)>) -> LayerLayout {
        let mut layout = LayerLayout::default();
        for (name, bytes) in tensors {
            layout.offsets.insert(name.to_string(), layout.bytes);
            layout.bytes += bytes.next_multiple_of(16);
        }
        layout
    }

    /// Length of the whole buffer.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The same in words.
    pub(super) fn words(&self) -> usize {
        (self.bytes / 4) as usize
    }

    /// Where a tensor begins; `None` if this kind of layer has no such tensor.
    pub fn offset_bytes(&self, tensor: &str) -> Option<u64> {
        self.offsets.get(tensor).copied()
    }

    /// Every tensor's name and offset in bytes.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, u64)> {
        self.offsets.iter().map(|(name, offset)| (name.as_str(), *offset))
    }

    /// A tensor's start counted in units of `unit_bytes` (16 for `vec4<u32>`, 4 for `u32`, 2 for halves), 0 if absent:
    /// the form in which kernels are told.
    pub(super) fn at(&self, tensor: &str, unit_bytes: u64) -> usize {
        (self.offset_bytes(tensor).unwrap_or(0) / unit_bytes) as usize
    }
}
