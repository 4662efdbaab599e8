//! What both libraries compute: a block of 60 routed experts, 4 a token, and a shared one, on 2048 tokens.

pub const TOKENS: usize = 2048;
pub const HIDDEN: usize = 192;
pub const EXPERT: usize = 32;
pub const SHARED: usize = 192;
pub const EXPERTS: usize = 60;
pub const CHOSEN: usize = 4;

const STEPS: u32 = 8;

/// Which tokens each expert gets, and as which of their choices (`token * CHOSEN + choice`). `chosen` `[tokens, CHOSEN]`.
pub fn by_expert(chosen: impl IntoIterator<Item = usize>) -> [Vec<(usize, usize)>; EXPERTS] {
    let mut parts = std::array::from_fn(|_| Vec::new());
    for (slot, expert) in chosen.into_iter().enumerate() {
        parts[expert].push((slot / CHOSEN, slot));
    }
    parts
}

/// Times a step: forward and backward.
pub fn report(library: &str, mut step: impl FnMut()) {
    step();
    let begin = std::time::Instant::now();
    (0..STEPS).for_each(|_| step());
    let seconds = begin.elapsed().as_secs_f64() / f64::from(STEPS);
    let products = CHOSEN * 3 * HIDDEN * EXPERT + 3 * HIDDEN * SHARED + HIDDEN * EXPERTS;
    println!(
        "{library}: {:.0} tokens/s, {:.1} GFLOPS",
        TOKENS as f64 / seconds,
        (6 * TOKENS * products) as f64 / seconds / 1e9
    );
}
