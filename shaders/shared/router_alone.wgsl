// The router's dot products, for all experts: a thread has eight at a time, and loads an input once for them.

fn score_experts(local: u32) {
    for (var first = local * 8u; first < EXPERTS; first += THREADS * 8u) {
        // The last experts again where there are no eight.
        let experts = min(vec4<u32>(first, first + 1u, first + 2u, first + 3u), vec4<u32>(EXPERTS - 1u));
        let experts2 = min(vec4<u32>(first + 4u, first + 5u, first + 6u, first + 7u), vec4<u32>(EXPERTS - 1u));
        let rows = vec4<u32>(ROUTER) + experts * (HIDDEN / 4u);
        let rows2 = vec4<u32>(ROUTER) + experts2 * (HIDDEN / 4u);
        var sum0 = Sums();
        var sum1 = Sums();
        var sum2 = Sums();
        var sum3 = Sums();
        var sum4 = Sums();
        var sum5 = Sums();
        var sum6 = Sums();
        var sum7 = Sums();
        for (var i = 0u; i < HIDDEN / 4u; i++) {
            let values = inputs(i);
            sum0 += weigh(values, bitcast<vec4<f32>>(weights[rows.x + i]));
            sum1 += weigh(values, bitcast<vec4<f32>>(weights[rows.y + i]));
            sum2 += weigh(values, bitcast<vec4<f32>>(weights[rows.z + i]));
            sum3 += weigh(values, bitcast<vec4<f32>>(weights[rows.w + i]));
            sum4 += weigh(values, bitcast<vec4<f32>>(weights[rows2.x + i]));
            sum5 += weigh(values, bitcast<vec4<f32>>(weights[rows2.y + i]));
            sum6 += weigh(values, bitcast<vec4<f32>>(weights[rows2.z + i]));
            sum7 += weigh(values, bitcast<vec4<f32>>(weights[rows2.w + i]));
        }
        for (var t = 0u; t < TILE; t++) {
            keep_score(t * EXPERTS, experts.x, of_token(sum0, t));
            keep_score(t * EXPERTS, experts.y, of_token(sum1, t));
            keep_score(t * EXPERTS, experts.z, of_token(sum2, t));
            keep_score(t * EXPERTS, experts.w, of_token(sum3, t));
            keep_score(t * EXPERTS, experts2.x, of_token(sum4, t));
            keep_score(t * EXPERTS, experts2.y, of_token(sum5, t));
            keep_score(t * EXPERTS, experts2.z, of_token(sum6, t));
            keep_score(t * EXPERTS, experts2.w, of_token(sum7, t));
        }
    }
}
