// An entry is one choice of one token: token * CHOSEN + k. A tile of them shares an expert. With one token a tile every
// entry is a tile; else group.wgsl has put them in order, from FIRST_ENTRY on, and a tile may end with EMPTY ones.
const SIDE_BY_SIDE: u32 = select(min(CHOSEN, 1u), CHOSEN, TILE == 1u); // tiles in a row of the grid

fn entry(tile: u32, t: u32) -> u32 {
    if (TILE == 1u) {
        return tile;
    }
    return order[FIRST_ENTRY + tile * TILE + t];
}
fn entry_or_first(tile: u32, t: u32) -> u32 {
    let at = entry(tile, t);
    return select(at, entry(tile, 0u), at == EMPTY);
}
// Where the tile's expert is; EMPTY if there is nothing to compute.
fn slot_of(tile: u32) -> u32 {
    let first = entry(tile, 0u);
    if (first == EMPTY) {
        return EMPTY;
    }
    return choices[first].slot;
}
