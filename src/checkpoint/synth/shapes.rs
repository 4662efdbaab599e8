//! The sizes of the models one may want to make.

/// A model's sizes; heads are 64 wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub hidden: usize,
    pub layers: usize,
    pub query_heads: usize,
    pub kv_heads: usize,
    pub experts: usize,
    pub experts_per_token: usize,
    /// Width of one routed expert.
    pub expert_size: usize,
    /// Width of the shared expert, and of a dense layer.
    pub shared_size: usize,
    pub vocab: usize,
}

/// The smallest shape that has everything: for tests that run in a debug build.
pub const TINY: Shape = row(128, 3, 2, 1, 32, 128, 512);

/// Large enough to show what a real one does, small enough to be made and loaded in a moment (18 MB).
pub const MINI: Shape = row(256, 6, 4, 2, 64, 512, 4096);

/// All shapes, by name. S, M and L are the published models.
pub const SHAPES: [(&str, Shape); 5] = [
    ("tiny", TINY),
    ("mini", MINI),
    ("S", row(768, 20, 12, 4, 384, 1536, 128_256)),
    ("M", row(1024, 26, 16, 4, 512, 2048, 128_256)),
    ("L", row(1280, 32, 20, 4, 640, 2560, 128_256)),
];

/// The shape of that name.
pub fn shape(name: &str) -> Option<Shape> {
    SHAPES.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
}

const fn row(
    hidden: usize,
    layers: usize,
    query_heads: usize,
    kv_heads: usize,
    expert_size: usize,
    shared_size: usize,
    vocab: usize,
) -> Shape {
    let (experts, experts_per_token) = (60, 4);
    Shape {
        hidden,
        layers,
        query_heads,
        kv_heads,
        experts,
        experts_per_token,
        expert_size,
        shared_size,
        vocab,
    }
}
