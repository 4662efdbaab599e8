// While decoding, the positions that a token sees are split into runs: each attends by itself, o_proj puts them together.
// The host counts them the same way (kernels/attention.rs).
fn splits_of(seen: u32) -> u32 {
    return clamp((seen + SPLIT - 1u) / SPLIT, 1u, SPLITS);
}
