// W[slot]^T for every routed expert of a layer: [slot, ROWS, COLUMNS] to [slot, COLUMNS, ROWS], of INT4 (BITS 4) or of their
// f16 scales (BITS 16). A thread writes a word.
// workgroups: [ceil(words of a slot / 64), slots]

@group(0) @binding(0) var<storage, read> published: array<u32>; // the layer's tensors, of which one begins at word FIRST
@group(0) @binding(1) var<storage, read_write> words: array<u32>; // the same, to be changed

const SIDE: u32 = 32u / BITS; // elements of a word

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) thread: vec3<u32>) {
    let slot = thread.y;
    let column = thread.x / (ROWS / SIDE);
    let row = thread.x % (ROWS / SIDE) * SIDE;
    if (column >= COLUMNS) {
        return;
    }
    var word = 0u;
    for (var k = 0u; k < SIDE; k++) {
        let element = (slot * ROWS + row + k) * COLUMNS + column;
        word |= extractBits(published[FIRST + element / SIDE], element % SIDE * BITS, BITS) << (k * BITS);
    }
    words[FIRST + ((slot * COLUMNS + column) * ROWS + row) / SIDE] = word;
}
