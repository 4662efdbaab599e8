// The logits that a token is chosen from: the model's, lowered for what was said before, moved by the caller's bias, and
// out of reach where the mask forbids a token. In this order:
//   repetition  logit / r where positive, logit * r where not, for tokens of the prompt or the answer (Keskar et al. 2019)
//   frequency   logit - f * times the token is in the answer
//   presence    logit - p for a token that is in the answer
// The token that the pass was fed is counted here, so that decoding goes on without the host.
// workgroups: [ceil(VOCAB / 256)]

struct Adjustment {
    repetition: f32, // 1: off
    frequency: f32, // 0: off
    presence: f32, // 0: off
    input_is_answer: u32, // 1: the pass was fed a token of the answer, 0: the prompt
}

@group(0) @binding(0) var<storage, read> logits: array<f32>; // [VOCAB]
@group(0) @binding(1) var<storage, read> adjustment: Adjustment;
@group(0) @binding(2) var<storage, read> tokens: array<u32>; // [0]: what the pass was fed
@group(0) @binding(3) var<storage, read> bias: array<f32>; // [VOCAB]
@group(0) @binding(4) var<storage, read> mask: array<u32>; // [VOCAB] bits: 1 may be chosen
@group(0) @binding(5) var<storage, read_write> said: array<u32>; // [VOCAB] 2 * times in the answer + in the prompt
@group(0) @binding(6) var<storage, read_write> adjusted: array<f32>; // [VOCAB]

const FORBIDDEN: f32 = -1e30;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global: vec3<u32>) {
    let id = global.x;
    if (id >= VOCAB) {
        return;
    }
    if (adjustment.input_is_answer == 1u && tokens[0] == id) {
        said[id] += 2u;
    }
    let times = said[id] / 2u;
    var logit = logits[id];
    if (said[id] > 0u) {
        logit = select(logit * adjustment.repetition, logit / adjustment.repetition, logit > 0.0);
    }
    logit -= adjustment.frequency * f32(times) + select(0.0, adjustment.presence, times > 0u);
    let allowed = ((mask[id / 32u] >> (id % 32u)) & 1u) == 1u;
    adjusted[id] = select(FORBIDDEN, logit + bias[id], allowed);
}
