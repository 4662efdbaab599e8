// log softmax(logits) of each row at its target, then at the row's TOP largest, by falling logit, ties to the lower id.
// workgroups: [rows]

struct Scored {
    id: u32, // VOCAB where a row has fewer tokens than TOP
    logprob: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>; // [rows, VOCAB]
@group(0) @binding(1) var<storage, read> targets: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read_write> scored: array<Scored>; // [rows, 1 + TOP]

const THREADS: u32 = 256u;
const LOWEST: f32 = -3.4e38;

var<workgroup> values: array<f32, THREADS>;
var<workgroup> indices: array<u32, THREADS>;

struct Candidate {
    logit: f32,
    id: u32,
}

fn precedes(a: Candidate, b: Candidate) -> bool {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// The first of this thread's share of a row that `last` precedes.
fn next_candidate(local: u32, row: u32, last: Candidate, is_first: bool) -> Candidate {
    var best = Candidate(LOWEST, VOCAB);
    for (var i = local; i < VOCAB; i += THREADS) {
        let candidate = Candidate(logits[row + i], i);
        if ((is_first || precedes(last, candidate)) && precedes(candidate, best)) {
            best = candidate;
        }
    }
    return best;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = workgroup.x * VOCAB;
    let out = workgroup.x * (1u + TOP);
    var largest = 0.0;
    var log_total = 0.0;
    var own = next_candidate(local, row, Candidate(0.0, 0u), true);
    for (var rank = 0u; rank < TOP; rank++) {
        values[local] = own.logit;
        indices[local] = own.id;
        workgroupBarrier();
        var best = Candidate(values[0], indices[0]);
        for (var i = 1u; i < THREADS; i++) {
            let other = Candidate(values[i], indices[i]);
            if (precedes(other, best)) {
                best = other;
            }
        }
        workgroupBarrier();
        if (rank == 0u) {
            largest = best.logit;
            var sum = 0.0;
            for (var i = local; i < VOCAB; i += THREADS) {
                sum += exp(max(logits[row + i] - largest, -80.0));
            }
            values[local] = sum;
            workgroupBarrier();
            var total = 0.0;
            for (var i = 0u; i < THREADS; i++) {
                total += values[i];
            }
            log_total = log(total);
            workgroupBarrier();
        }
        if (local == 0u) {
            scored[out + 1u + rank] = Scored(best.id, best.logit - largest - log_total);
        }
        if (own.id == best.id) {
            own = next_candidate(local, row, best, false);
        }
    }
    if (local == 0u) {
        let id = targets[workgroup.x];
        scored[out] = Scored(id, logits[row + id] - largest - log_total);
    }
}
