//! The sizes of the models one may want to make.

/// A model's sizes; heads are 64 wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub hidden: usize,
    pub layers: usize,
    pub query_heads: usize,
    pub kv_heads: usize,
    /// 0: every layer is dense.
    pub experts: usize,
    pub experts_per_token: usize,
    /// Width of one routed expert.
    pub expert_size: usize,
    /// Width of the shared expert, and of a dense layer.
    pub shared_size: usize,
    pub vocab: usize,
    /// Tokens that a query sees in all layers but every fourth, which sees everything; 0: no layer slides.
    pub window: usize,
}

/// The smallest shape that has everything: for tests that run in a debug build.
pub const TINY: Shape = row(128, 3, 2, 1, 32, 128, 512);

/// Large enough to show what a real one does, small enough to be made and loaded in a moment (18 MB).
pub const MINI: Shape = row(256, 6, 4, 2, 64, 512, 4096);

/// The dense baseline that MobileMoE is compared with, MobileLLM-Pro: 1.08 billion parameters, all active.
const PRO: Shape = Shape {
    hidden: 1280,
    layers: 30,
    query_heads: 20,
    kv_heads: 4,
    experts: 0,
    experts_per_token: 0,
    expert_size: 0,
    shared_size: 6144,
    vocab: 202_048,
    window: 512,
};

/// All shapes, by name. S, M and L are the published models, "pro" is the dense baseline.
pub const SHAPES: [(&str, Shape); 6] = [
    ("tiny", TINY),
    ("mini", MINI),
    ("S", row(768, 20, 12, 4, 384, 1536, 128_256)),
    ("M", row(1024, 26, 16, 4, 512, 2048, 128_256)),
    ("L", row(1280, 32, 20, 4, 640, 2560, 128_256)),
    ("pro", PRO),
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
        window: 0,
    }
}
