// folded = the exclusive or of all words, in one word a thread: reading, and next to nothing else. What the memory's rate
// is measured with.
// workgroups: as many as there are to be threads / 64

@group(0) @binding(0) var<storage, read> words: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> folded: array<u32>; // [threads]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) thread: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    let threads = workgroups.x * 64u;
    let count = arrayLength(&words);
    // Neighbours read neighbours, as a GPU's memory likes it; or each thread a run of its own, as a CPU's does.
    let run = (count + threads - 1u) / threads;
    let first = select(thread.x * run, thread.x, NEIGHBOURS);
    let end = select(min(first + run, count), count, NEIGHBOURS);
    let stride = select(1u, threads, NEIGHBOURS);
    var fold = vec4<u32>();
    for (var i = first; i < end; i += stride) {
        fold ^= words[i];
    }
    folded[thread.x] = fold.x ^ fold.y ^ fold.z ^ fold.w;
}
