// Keys and values in 16 bits. A row is one head of a position: 32 words, two halves each. The including kernel declares
// half_pair(word) -> both.
const ROW_WORDS: u32 = 32u;

// Dimensions 4i .. 4i+3 of a row.
fn cached4(row: u32, i: u32) -> vec4<f32> {
    let at = row * ROW_WORDS + 2u * i;
    return vec4<f32>(half_pair(cache[at]), half_pair(cache[at + 1u]));
}
fn cached(row: u32, dimension: u32) -> f32 {
    return half_pair(cache[row * ROW_WORDS + dimension / 2u])[dimension % 2u];
}
