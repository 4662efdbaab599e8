// What attention has found, of dimensions 4i .. 4i+3 of all heads of a token; the splits of the cache put together. The including
// kernel imports splits and declares
//   attended: array<vec4<f32>>   [splits, count, QUERY_HEADS, 16], each split's own average
//   softmax: array<vec2<f32>>    [splits, count, QUERY_HEADS] its largest score, and the sum of exp(score - largest)

var<private> shares: array<f32, SPLITS>; // of the splits in the head that was measured last

fn attended4(token: u32, i: u32) -> vec4<f32> {
    if (SPLITS == 1u) {
        return attended[token * (ATTENDED / 4u) + i];
    }
    measure_shares(i / 16u);
    return joined4(i);
}

// Of one token's head.
fn measure_shares(head: u32) {
    let splits = splits_of(min(step.position + 1u, WINDOW));
    var largest = -1e30;
    for (var split = 0u; split < splits; split++) {
        largest = max(largest, softmax[split * QUERY_HEADS + head].x);
    }
    var total = 0.0;
    for (var split = 0u; split < splits; split++) {
        let found = softmax[split * QUERY_HEADS + head];
        shares[split] = found.y * exp(found.x - largest);
        total += shares[split];
    }
    for (var split = 0u; split < splits; split++) {
        shares[split] /= total;
    }
}

// In the head that was measured last.
fn joined4(i: u32) -> vec4<f32> {
    let splits = splits_of(min(step.position + 1u, WINDOW));
    var value = vec4<f32>();
    for (var split = 0u; split < splits; split++) {
        value += shares[split] * attended[split * (ATTENDED / 4u) + i];
    }
    return value;
}
