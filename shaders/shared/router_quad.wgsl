// The router's dot products, for all experts: a quad has its share of them, a lane a quarter of the inputs, 16 at a time.

#import lanes
#import own

const OWN_EXPERTS: u32 = (EXPERTS + THREADS / 4u - 1u) / (THREADS / 4u);
var<private> sums: array<Own, max(OWN_EXPERTS, 1u)>; // begins at zero

// Inputs 4i .. 4i+3, none past the last.
fn inputs_or_none(i: u32) -> Inputs {
    if (HIDDEN % 64u != 0u && i >= HIDDEN / 4u) {
        return Inputs();
    }
    return inputs(i);
}

fn score_experts(local: u32) {
    lane = local % 4u;
    let first_expert = local / 4u * OWN_EXPERTS;
    for (var first = 0u; first < HIDDEN / 4u; first += 16u) {
        let i = first + 4u * lane;
        let a = inputs_or_none(i);
        let b = inputs_or_none(i + 1u);
        let c = inputs_or_none(i + 2u);
        let d = inputs_or_none(i + 3u);
        for (var e = 0u; e < OWN_EXPERTS; e++) {
            // Never past the row: what follows may be no number, and zero times that is none either.
            let at = ROUTER + min(first_expert + e, EXPERTS - 1u) * (HIDDEN / 4u) + min(i, HIDDEN / 4u - 4u);
            sums[e] += own(weigh(a, bitcast<vec4<f32>>(weights[at])) + weigh(b, bitcast<vec4<f32>>(weights[at + 1u]))
                + weigh(c, bitcast<vec4<f32>>(weights[at + 2u])) + weigh(d, bitcast<vec4<f32>>(weights[at + 3u])));
        }
    }
    for (var e = 0u; e < OWN_EXPERTS && first_expert + e < EXPERTS; e++) {
        for (var n = 0u; n < OWN_TOKENS; n++) {
            keep_score(own_token(n) * EXPERTS, first_expert + e, own_sum(e, n));
        }
    }
}
