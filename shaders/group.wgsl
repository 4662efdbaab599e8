// Puts the entries (token * CHOSEN + k) in order of their experts, in tiles that share one. What an expert has left over goes to
// a tile that ends with EMPTY ones; REST entries or fewer to one of the smaller tiles from RESTS_AT on, if there are such.
// Entries of an expert stay in the order of their tokens, so that nothing depends on timing. Those whose expert is not on the
// GPU are left out (an expert's slot is the same in all its choices).
// workgroups: [1]

#import step
#import choice

@group(0) @binding(0) var<storage, read> step: Step;
@group(0) @binding(1) var<storage, read> choices: array<Choice, TOKENS * CHOSEN>; // [count, CHOSEN]
@group(0) @binding(2) var<storage, read_write> order: array<u32>; // [tiles, TILE], from RESTS_AT on [rests, REST]
@group(0) @binding(3) var<storage, read_write> grids: array<u32, 12>; // workgroups of experts_up, routed_down; the same for rests

var<workgroup> count_of: array<u32, EXPERTS>; // entries of an expert
var<workgroup> tiles_before: array<u32, EXPERTS>; // tiles of all experts before it
var<workgroup> rests_before: array<u32, EXPERTS>;

// Of so many entries, those in tiles of TILE.
fn in_tiles(count: u32) -> u32 {
    let left = count % TILE;
    return select(count, count - left, REST < TILE && left <= REST);
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32) {
    let entries = step.count * CHOSEN;
    for (var expert = local; expert < EXPERTS; expert += 64u) {
        var count = 0u;
        var last = 0u;
        for (var i = 0u; i < entries; i++) {
            if (choices[i].expert == expert) {
                count++;
                last = i;
            }
        }
        count_of[expert] = select(count, 0u, choices[last].slot == EMPTY);
    }
    workgroupBarrier();
    if (local == 0u) {
        var tiles = 0u;
        var rests = 0u;
        for (var expert = 0u; expert < EXPERTS; expert++) {
            tiles_before[expert] = tiles;
            rests_before[expert] = rests;
            let count = count_of[expert];
            tiles += (in_tiles(count) + TILE - 1u) / TILE;
            rests += u32(in_tiles(count) < count);
        }
        grids = array(
            UP_WORKGROUPS, tiles, 1u, DOWN_WORKGROUPS, tiles, 1u,
            UP_REST_WORKGROUPS, rests, 1u, DOWN_REST_WORKGROUPS, rests, 1u,
        );
    }
    workgroupBarrier();
    for (var expert = local; expert < EXPERTS; expert += 64u) {
        let count = count_of[expert];
        let split = in_tiles(count);
        let tiles_at = tiles_before[expert] * TILE;
        let rest_at = RESTS_AT + rests_before[expert] * REST - split;
        var k = 0u;
        for (var i = 0u; i < entries && k < count; i++) {
            if (choices[i].expert == expert) {
                order[select(rest_at, tiles_at, k < split) + k] = i;
                k++;
            }
        }
        // TILE is a multiple of REST.
        for (; k % select(REST, TILE, count == split) != 0u; k++) {
            order[select(rest_at, tiles_at, count == split) + k] = EMPTY;
        }
    }
}
