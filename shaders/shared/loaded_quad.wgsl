// A row of the cache, unpacked: 64 dimensions. Each lane loads a quarter, and has those of the others: its own first, then its
// neighbour's, and so on.
alias Loaded = array<vec4<f32>, 16>;

fn loaded(row: u32) -> Loaded {
    let packed = &cache[row];
    let a = quad4((*packed).quads[4u * lane]);
    let b = quad4((*packed).quads[4u * lane + 1u]);
    let c = quad4((*packed).quads[4u * lane + 2u]);
    let d = quad4((*packed).quads[4u * lane + 3u]);
    return Loaded(
        a, b, c, d,
        quadSwapX(a), quadSwapX(b), quadSwapX(c), quadSwapX(d),
        quadSwapY(a), quadSwapY(b), quadSwapY(c), quadSwapY(d),
        quadSwapDiagonal(a), quadSwapDiagonal(b), quadSwapDiagonal(c), quadSwapDiagonal(d),
    );
}
// Which four dimensions the i-th of them are.
fn place(i: u32) -> u32 {
    return 4u * ((i / 4u) ^ lane) + i % 4u;
}
