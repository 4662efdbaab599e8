// y = x W for a stack of INT4 matrices [rows, out] with a scale for 32 outputs of a row, for TILE tokens at once.
//
// A workgroup of 256 threads owns one group of 32 outputs (WORDS 4), or two (WORDS 8): a thread has a word of eight outputs,
// in each 256 / WORDS-th four rows. Inputs are multiplied with their rows' scales on the way into workgroup memory: the rest is
// a plain INT4 product. The including kernel imports staged and declares
//   words: array<u32>            the layer's tensors
//   STACK, STACK_SCALE           first group and first scale (counted in halves) of the stack
//   STACK_GROUPS                 groups in a row
//   routed_input4(t, i)          inputs 4i .. 4i+3 of a token
//   routed_row(i)                the row that input i meets; 32 inputs from a multiple of 32 on meet neighbours

// Four inputs at a time that pass through workgroup memory, of a token and a group.
const CHUNKS: u32 = STRIDE * 4u / WORDS;

// Inputs 4i .. 4i+3 of a token times their scales for a group.
fn scaled4(t: u32, i: u32, group: u32) -> vec4<f32> {
    let at = STACK_SCALE + routed_row(4u * i) * STACK_GROUPS + group;
    let scales = vec4<f32>(
        half_at(at),
        half_at(at + STACK_GROUPS),
        half_at(at + 2u * STACK_GROUPS),
        half_at(at + 3u * STACK_GROUPS),
    );
    return routed_input4(t, i) * scales;
}
fn half_at(i: u32) -> f32 {
    return f16_to_f32(half_of(words[i >> 1u], i & 1u));
}

// The thread's part of the sums. `groups`: those of words 0..3 and 4..7, counted in a row. Every thread of the workgroup
// must come here (barriers).
fn add_routed(sum: ptr<function, Outer>, local: u32, groups: vec2<u32>, inputs: u32) {
    let second = local % WORDS / 4u;
    let group = select(groups.x, groups.y, second == 1u);
    for (var start = 0u; start < inputs / 4u; start += CHUNKS) {
        workgroupBarrier();
        let t = 2u * local / STRIDE;
        let i = start + 2u * local % CHUNKS;
        let of_second = 2u * local % STRIDE >= CHUNKS;
        var a = vec4<f32>();
        var b = vec4<f32>();
        if (t < TILE && i < inputs / 4u) {
            let its_group = select(groups.x, groups.y, of_second);
            a = scaled4(t, i, its_group);
            b = scaled4(t, i + 1u, its_group);
        }
        keep(local, a, b);
        workgroupBarrier();
        let chunks = min(CHUNKS, inputs / 4u - start);
        for (var chunk = local / WORDS; chunk < chunks; chunk += 256u / WORDS) {
            let row = routed_row(first_input(start + chunk));
            let word = (STACK + row * STACK_GROUPS + group) * 4u + local % 4u;
            let step = ROW_STEP * STACK_GROUPS * 4u;
            let q = vec4<u32>(words[word], words[word + step], words[word + 2u * step], words[word + 3u * step]);
            add_outer(sum, rows_of(q), second * CHUNKS + chunk);
        }
    }
}
