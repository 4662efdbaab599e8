// Compiles where the language has four-way dot products of bytes.

@group(0) @binding(0) var<storage, read_write> found: array<u32>; // [1]

@compute @workgroup_size(1)
fn main() {
    found[0] = bitcast<u32>(dot4I8Packed(found[0], found[0]));
}
