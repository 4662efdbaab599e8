// The next token: the largest logit (temperature 0), or a draw from softmax(logits / temperature) restricted by top-k,
// top-p and min-p. Then the step for the token after it, so that decoding goes on without the host.
//
// The three filters keep logits above a threshold; equal logits are kept or dropped together:
//   top-k  at least as large as the k-th largest
//   top-p  the smallest set of largest, among those kept so far, whose probability reaches p
//   min-p  probability at least p times the largest one's
// The thresholds are found digit by digit (radix 256) on keys that sort like the logits. Probabilities are summed as
// fixed point of 2^-30, so that the order of atomic additions does not matter.
// workgroups: [1]

#import step

struct Sampling {
    temperature: f32, // 0: greedy
    top_k: u32, // 0: off
    top_p: f32, // 1: off
    min_p: f32, // 0: off
    seed: vec2<u32>,
}

@group(0) @binding(0) var<storage, read_write> step: Step;
@group(0) @binding(1) var<storage, read> logits: array<f32, VOCAB>;
@group(0) @binding(2) var<storage, read> sampling: Sampling;
@group(0) @binding(3) var<storage, read> fault: array<u32>;
@group(0) @binding(4) var<storage, read_write> tokens: array<u32>; // [0]: the next pass's token
@group(0) @binding(5) var<storage, read_write> chosen: array<u32>; // id, fault: what the host reads

const THREADS: u32 = 256u;
const ONE: f32 = 1073741824.0; // 2^30

var<workgroup> values: array<f32, THREADS>;
var<workgroup> indices: array<u32, THREADS>;
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> found: vec2<u32>; // a digit and what lies above it

// Logits at or below this belong to tokens that must not be chosen (adjust.wgsl).
const FORBIDDEN: f32 = -1e30;

// Sorts like the float: larger key, larger logit.
fn key_of(logit: f32) -> u32 {
    let bits = bitcast<u32>(logit);
    return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}

// exp((logit - largest) / temperature): a probability times the partition sum.
fn mass(logit: f32, largest: f32) -> f32 {
    return exp(max((logit - largest) / sampling.temperature, -80.0));
}

// Sum of a value over all threads, the same in each.
fn sum_all(local: u32, value: f32) -> f32 {
    workgroupBarrier();
    values[local] = value;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < THREADS; i++) {
        sum += values[i];
    }
    return sum;
}

fn mass_above(local: u32, key: u32, largest: f32) -> f32 {
    var sum = 0.0;
    for (var i = local; i < VOCAB; i += THREADS) {
        if (key_of(logits[i]) >= key) {
            sum += mass(logits[i], largest);
        }
    }
    return sum_all(local, sum);
}

// The largest key such that the keys from it on, none below `least`, weigh at least `goal`: each 1 (unit == 0) or its
// probability in units of 2^-30 (unit = 2^30 / partition sum). Where they come to less than `goal`: `least` itself.
fn threshold(local: u32, least: u32, goal: u32, largest: f32, unit: f32) -> u32 {
    var prefix = 0u;
    var above = 0u; // weight of the keys whose leading digits exceed the prefix
    for (var shift = 24i; shift >= 0i; shift -= 8i) {
        atomicStore(&histogram[local], 0u);
        workgroupBarrier();
        let s = u32(shift);
        for (var i = local; i < VOCAB; i += THREADS) {
            let key = key_of(logits[i]);
            // Shifting by 32 is undefined: the first digit has no prefix to agree with.
            if (key >= least && (s == 24u || (key >> (s + 8u)) == (prefix >> (s + 8u)))) {
                let weight = select(u32(mass(logits[i], largest) * unit), 1u, unit == 0.0);
                atomicAdd(&histogram[(key >> s) & 255u], weight);
            }
        }
        workgroupBarrier();
        if (local == 0u) {
            var digit = 255i;
            var sum = above;
            for (; digit > 0i; digit--) {
                let weight = atomicLoad(&histogram[digit]);
                if (sum + weight >= goal) {
                    break;
                }
                sum += weight;
            }
            found = vec2<u32>(u32(digit), sum);
        }
        let next = workgroupUniformLoad(&found);
        prefix |= next.x << s;
        above = next.y;
        workgroupBarrier();
    }
    return max(prefix, least);
}

// A uniform number in [0, 1) from the seed and the position (PCG hash, Jarzynski and Olano 2020).
fn random(position: u32) -> f32 {
    var state = sampling.seed.x ^ (position * 0x9e3779b9u);
    for (var round = 0u; round < 2u; round++) {
        state = state * 747796405u + 2891336453u + sampling.seed.y;
        let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
        state = (word >> 22u) ^ word;
    }
    return f32(state >> 8u) * 0x1p-24;
}

struct Candidate {
    logit: f32,
    id: u32,
}

// The largest of 16 values, ties to the lower id.
fn largest_of(first: u32, stride: u32) -> Candidate {
    var best = Candidate(values[first], indices[first]);
    for (var k = 1u; k < 16u; k++) {
        let other = Candidate(values[first + k * stride], indices[first + k * stride]);
        if (other.logit > best.logit || (other.logit == best.logit && other.id < best.id)) {
            best = other;
        }
    }
    return best;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) local: u32) {
    // Largest logit, ties to the lower id.
    var best = -3.4e38;
    var best_id = 0u;
    for (var first = 0u; first < VOCAB; first += THREADS) {
        let i = first + local;
        let logit = logits[min(i, VOCAB - 1u)]; // past the end the last one again, which then has the lower id
        if (logit > best) {
            best = logit;
            best_id = i;
        }
    }
    // In two steps: of the threads that share the low four bits, then of those sixteen.
    values[local] = best;
    indices[local] = best_id;
    workgroupBarrier();
    let sixteen = largest_of(local % 16u, 16u);
    workgroupBarrier();
    values[local] = sixteen.logit;
    indices[local] = sixteen.id;
    workgroupBarrier();
    let largest = largest_of(0u, 1u);
    best = largest.logit;
    best_id = largest.id;

    if (sampling.temperature > 0.0) {
        var least = key_of(FORBIDDEN) + 1u;
        if (sampling.top_k > 0u && sampling.top_k < VOCAB) {
            least = threshold(local, least, sampling.top_k, best, 0.0);
        }
        if (sampling.top_p < 1.0) {
            let unit = ONE / mass_above(local, least, best);
            least = threshold(local, least, max(u32(sampling.top_p * ONE), 1u), best, unit);
        }
        if (sampling.min_p > 0.0) {
            least = max(least, key_of(best + log(sampling.min_p) * sampling.temperature));
        }
        // Inverse transform in id order: each thread owns a run of ids.
        let run = (VOCAB + THREADS - 1u) / THREADS;
        let first = min(local * run, VOCAB);
        let end = min(first + run, VOCAB);
        var sum = 0.0;
        for (var i = first; i < end; i++) {
            if (key_of(logits[i]) >= least) {
                sum += mass(logits[i], best);
            }
        }
        let total = sum_all(local, sum);
        let target_mass = random(step.position + step.count) * total;
        var before = 0.0;
        for (var i = 0u; i < local; i++) {
            before += values[i];
        }
        indices[local] = VOCAB;
        var running = before;
        if (target_mass >= before && sum > 0.0 && target_mass < before + sum) {
            for (var i = first; i < end; i++) {
                if (key_of(logits[i]) >= least) {
                    running += mass(logits[i], best);
                    indices[local] = i; // the last kept id, should rounding carry the sum past the target
                    if (running > target_mass) {
                        break;
                    }
                }
            }
        }
        workgroupBarrier();
        // Rounding at the borders may leave the target in nobody's run: then the largest logit stands.
        for (var i = 0u; i < THREADS; i++) {
            if (indices[i] < VOCAB) {
                best_id = indices[i];
                break;
            }
        }
    }

    if (local == 0u) {
        chosen[0] = best_id;
        chosen[1] = fault[0];
        tokens[0] = best_id;
        step.position += step.count;
        step.count = 1u;
        step.head_row = 0u;
        step.head_rows = 1u;
    }
}
