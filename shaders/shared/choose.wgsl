// How a token chooses its experts. The including kernel imports numbers and choice and declares words, page_table, choices, fault,
// and in workgroup memory scores and biased: array<f32>, EXPERTS a token.

fn keep_score(at: u32, expert: u32, logit: f32) {
    let score = 1.0 / (1.0 + exp(min(-logit, 80.0)));
    let bias = bitcast<f32>(half_of(words[BIAS + expert / 2u], expert % 2u) << 16u); // BF16
    scores[at + expert] = score;
    biased[at + expert] = score + bias;
}

// By one thread, from the scores `at ..+ EXPERTS`.
fn choose(token: u32, at: u32) {
    var chosen: array<u32, max(CHOSEN, 1u)>;
    var sum = 0.0;
    for (var k = 0u; k < CHOSEN; k++) {
        var best = 0u;
        var best_score = -1e30;
        for (var expert = 0u; expert < EXPERTS; expert++) {
            if (biased[at + expert] > best_score) {
                best = expert;
                best_score = biased[at + expert];
            }
        }
        chosen[k] = best;
        choices[token * CHOSEN + k].score = best_score;
        biased[at + best] = -2e30;
        sum += scores[at + best];
    }
    for (var k = 0u; k < CHOSEN; k++) {
        let expert = chosen[k];
        let slot = page_table[expert];
        if (slot == EMPTY) {
            fault[0] = 1u + page_table[EXPERTS] * EXPERTS + expert;
        }
        let score = scores[at + expert];
        choices[token * CHOSEN + k].expert = expert;
        choices[token * CHOSEN + k].slot = slot;
        choices[token * CHOSEN + k].weight = select(score, score / (sum + 1e-20), NORM_TOPK) * SCALING;
    }
}
