// Keys and values in 32 bits. A row is one head of a position: 64 words.
const ROW_WORDS: u32 = 64u;

// Dimensions 4i .. 4i+3 of a row.
fn cached4(row: u32, i: u32) -> vec4<f32> {
    let at = row * ROW_WORDS + 4u * i;
    return bitcast<vec4<f32>>(vec4<u32>(cache[at], cache[at + 1u], cache[at + 2u], cache[at + 3u]));
}
fn cached(row: u32, dimension: u32) -> f32 {
    return bitcast<f32>(cache[row * ROW_WORDS + dimension]);
}
