// W[slot]^T for every routed expert of a layer: [slot, ROWS, COLUMNS] to [slot, COLUMNS, ROWS], of INT4 (BITS 4) or of their
// f16 scales (BITS 16). A thread turns a square of as many elements as a word holds.
// workgroups: [ceil(squares of a slot / 64), slots]

@group(0) @binding(0) var<storage, read> published: array<u32, LAYER_WORDS>; // the layer's tensors, one of which begins at word FIRST
@group(0) @binding(1) var<storage, read_write> words: array<u32, LAYER_WORDS>; // the same, to be changed

const SIDE: u32 = 32u / BITS; // elements of a word
const SQUARES_ACROSS: u32 = (COLUMNS + SIDE - 1u) / SIDE;
// What moves element k of four to its place in a word.
const PLACES: vec4<u32> = select(vec4<u32>(1u, 0x10000u, 0u, 0u), vec4<u32>(1u, 0x10u, 0x100u, 0x1000u), BITS == 4u);

// A word's worth of elements from this one on.
fn elements(first: u32) -> u32 {
    let at = FIRST + first / SIDE;
    if (COLUMNS % SIDE == 0u || first % SIDE == 0u) {
        return published[at];
    }
    return (published[at] >> 16u) | (published[at + 1u] << 16u); // of halves only: INT4 have 32 to a group
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
    let row = thread.x / SQUARES_ACROSS * SIDE;
    let column = thread.x % SQUARES_ACROSS * SIDE;
    if (row >= ROWS) {
        return;
    }
    let first = (thread.y * ROWS + row) * COLUMNS + column;
    var rows = vec4<u32>(elements(first), elements(first + COLUMNS), 0u, 0u);
    var more = vec4<u32>();
    if (SIDE == 8u) {
        rows.z = elements(first + 2u * COLUMNS);
        rows.w = elements(first + 3u * COLUMNS);
        more = vec4<u32>(elements(first + 4u * COLUMNS), elements(first + 5u * COLUMNS), elements(first + 6u * COLUMNS),
            elements(first + 7u * COLUMNS));
    }
    var to = FIRST + ((thread.y * COLUMNS + column) * ROWS + row) / SIDE;
    for (var k = 0u; k < SIDE && column + k < COLUMNS; k++) {
        const MASK = vec4<u32>((1u << BITS) - 1u);
        words[to] = dot(rows & MASK, PLACES) + 0x10000u * dot(more & MASK, PLACES);
        rows >>= vec4<u32>(BITS);
        more >>= vec4<u32>(BITS);
        to += ROWS / SIDE;
    }
}
