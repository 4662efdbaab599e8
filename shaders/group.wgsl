// Puts the entries (token * CHOSEN + k) in order of their experts, in tiles that share one; the rest of an expert's
// last tile is EMPTY. Entries of an expert stay in the order of their tokens, so that nothing depends on timing.
// Entries whose expert is not on the GPU are left out.
// workgroups: [1]

#import step
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> choices: array<Choice>; // [count, CHOSEN]
@group(0) @binding(2) var<storage, read_write> order: array<u32>; // [tiles, TILE]
@group(0) @binding(3) var<storage, read_write> grids: array<u32>; // workgroups of experts_up, then of routed_down

var<workgroup> tiles_of: array<u32, EXPERTS>; // tiles of an expert, then of all before it

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32) {
    let entries = step.count * CHOSEN;
    for (var expert = local; expert < EXPERTS; expert += 64u) {
        var count = 0u;
        for (var i = 0u; i < entries; i++) {
            if (choices[i].expert == expert && choices[i].slot != EMPTY) {
                count++;
            }
        }
        tiles_of[expert] = (count + TILE - 1u) / TILE;
    }
    workgroupBarrier();
    if (local == 0u) {
        var tiles = 0u;
        for (var expert = 0u; expert < EXPERTS; expert++) {
            let own = tiles_of[expert];
            tiles_of[expert] = tiles;
            tiles += own;
        }
        // The shared expert's tiles are in the same grid: at least as many, those past the routed ones empty.
        for (; tiles < (step.count + TILE - 1u) / TILE; tiles++) {
            order[tiles * TILE] = EMPTY;
        }
        grids[0] = UP_WORKGROUPS;
        grids[1] = tiles;
        grids[2] = 1u;
        grids[3] = DOWN_WORKGROUPS;
        grids[4] = tiles;
        grids[5] = 1u;
    }
    workgroupBarrier();
    for (var expert = local; expert < EXPERTS; expert += 64u) {
        var at = tiles_of[expert] * TILE;
        for (var i = 0u; i < entries; i++) {
            if (choices[i].expert == expert && choices[i].slot != EMPTY) {
                order[at] = i;
                at++;
            }
        }
        while (at % TILE != 0u) {
            order[at] = EMPTY;
            at++;
        }
    }
}
