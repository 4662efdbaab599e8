// One routed expert of one token.
struct Choice {
    expert: u32,
    slot: u32, // where its weights are; EMPTY if they are not on the GPU
    weight: f32, // what its output is multiplied by
    score: f32, // sigmoid + bias, what the choice was made by
}
const EMPTY: u32 = 0xffffffffu;
