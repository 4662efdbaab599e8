// A row of the cache, unpacked: 64 dimensions.
alias Loaded = array<vec4<f32>, 16>;

fn loaded(row: u32) -> Loaded {
    let packed = &cache[row];
    return Loaded(
        quad4((*packed).quads[0]), quad4((*packed).quads[1]), quad4((*packed).quads[2]), quad4((*packed).quads[3]),
        quad4((*packed).quads[4]), quad4((*packed).quads[5]), quad4((*packed).quads[6]), quad4((*packed).quads[7]),
        quad4((*packed).quads[8]), quad4((*packed).quads[9]), quad4((*packed).quads[10]), quad4((*packed).quads[11]),
        quad4((*packed).quads[12]), quad4((*packed).quads[13]), quad4((*packed).quads[14]), quad4((*packed).quads[15]),
    );
}
// Which four dimensions the i-th of them are.
fn place(i: u32) -> u32 {
    return i;
}
