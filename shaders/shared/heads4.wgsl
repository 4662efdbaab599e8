// Four query heads that share keys and values: a value of each, and four dimensions of each, a column a dimension. In memory heads
// are 16 vec4 apart; `last` is the last head that there is.
alias Heads = vec4<f32>;
alias Dimensions = mat4x4<f32>;
alias ByHead = mat4x4<f32>;

fn queries(at: u32, last: u32) -> Dimensions {
    return transpose(ByHead(query[at], query[at + min(1u, last) * 16u], query[at + min(2u, last) * 16u], query[at + min(3u, last) * 16u]));
}
fn write_attended(at: u32, last: u32, found: Dimensions) {
    let by_head = transpose(found);
    attended[at] = by_head[0];
    if (last >= 1u) {
        attended[at + 16u] = by_head[1];
    }
    if (last >= 2u) {
        attended[at + 32u] = by_head[2];
    }
    if (last >= 3u) {
        attended[at + 48u] = by_head[3];
    }
}
