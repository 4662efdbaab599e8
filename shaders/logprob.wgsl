// log softmax(logits)[target] of each row, and the row's largest id: what scoring needs of a position.
// workgroups: [rows]

@group(0) @binding(0) var<storage, read> logits: array<f32>; // [rows, VOCAB]
@group(0) @binding(1) var<storage, read> targets: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read_write> scored: array<vec2<u32>>; // [rows] log-probability as f32 bits, largest id

const THREADS: u32 = 256u;

var<workgroup> values: array<f32, THREADS>;
var<workgroup> indices: array<u32, THREADS>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = workgroup.x * VOCAB;
    var best = -3.4e38;
    var best_id = 0u;
    for (var i = local; i < VOCAB; i += THREADS) {
        if (logits[row + i] > best) {
            best = logits[row + i];
            best_id = i;
        }
    }
    values[local] = best;
    indices[local] = best_id;
    workgroupBarrier();
    for (var i = 0u; i < THREADS; i++) {
        if (values[i] > best || (values[i] == best && indices[i] < best_id)) {
            best = values[i];
            best_id = indices[i];
        }
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = local; i < VOCAB; i += THREADS) {
        sum += exp(max(logits[row + i] - best, -80.0));
    }
    values[local] = sum;
    workgroupBarrier();
    if (local == 0u) {
        var total = 0.0;
        for (var i = 0u; i < THREADS; i++) {
            total += values[i];
        }
        let target_logit = logits[row + targets[workgroup.x]];
        scored[workgroup.x] = vec2<u32>(bitcast<u32>(target_logit - best - log(total)), best_id);
    }
}
