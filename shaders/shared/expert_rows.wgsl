// y = W x for INT4 matrices W [out, in] of a routed expert, as transpose.wgsl leaves them: a scale for each input and 32 outputs,
// [out / 32, in]. LANES threads have BLOCKS blocks of 32 rows of each of MATRICES matrices, for TILE tokens at once.
//
// The scales go into the inputs, once for the 32 rows that share them; what is left is a plain INT4 product.
// The including kernel imports held and declares
//   weights, input4        as for rows.wgsl
//   MATRICES, BLOCKS       ROWS = 32 * BLOCKS of each matrix
//   EXPERT_INPUTS          inputs of a row

const EXPERT_GROUPS: u32 = EXPERT_INPUTS / 32u;

// Past a row's last group there are no inputs, so what weights and scales are read there counts for nothing.
fn expert_group_or_none(group: u32) -> Held {
    if (EXPERT_GROUPS % (HELD * LANES) != 0u && group >= EXPERT_GROUPS) {
        return Held();
    }
    return input_group(group);
}
fn second_expert_group(group: u32) -> Held {
    if (HELD == 1u) {
        return Held();
    }
    return expert_group_or_none(group + 1u);
}

// Adds W x to sums. `first_block`: of each matrix, counted from where the stack of all experts begins: at `weight`, counted in
// groups of 32 weights, with scales at `scale`, counted in 8 of them.
fn add_expert_rows(first_block: array<u32, MATRICES>, weight: u32, scale: u32) {
    for (var first = 0u; first < EXPERT_GROUPS; first += HELD * LANES) {
        let group = first + HELD * lane;
        let inputs = expert_group_or_none(group);
        let inputs2 = second_expert_group(group);
        for (var i = 0u; i < MATRICES * BLOCKS; i++) {
            let block = first_block[i / BLOCKS] + i % BLOCKS;
            let scale_at = scale + (block * EXPERT_GROUPS + group) * 4u;
            let x = scaled_group(inputs, scale_at);
            let x2 = scaled_group(inputs2, scale_at + 4u);
            var bias = bias_of(x);
            if (HELD == 2u) {
                bias += bias_of(x2);
            }
            var at = weight + block * 32u * EXPERT_GROUPS + group;
            for (var r = 0u; r < 32u; r++) {
                var dots = bias + group_dot(weights[at], x);
                if (HELD == 2u) {
                    dots += group_dot(weights[at + 1u], x2);
                }
                sums[i * 32u + r] += own(dots);
                at += EXPERT_GROUPS;
            }
        }
    }
}

// 32 inputs times as many scales, from weights[at] on.
fn scaled_group(x: Held, at: u32) -> Held {
    let a = weights[at];
    let b = weights[at + 1u];
    let c = weights[at + 2u];
    let d = weights[at + 3u];
    return Held(placed(x[0], four_halves(a.xy)), placed(x[1], four_halves(a.zw)), placed(x[2], four_halves(b.xy)),
        placed(x[3], four_halves(b.zw)), placed(x[4], four_halves(c.xy)), placed(x[5], four_halves(c.zw)),
        placed(x[6], four_halves(d.xy)), placed(x[7], four_halves(d.zw)));
}
