fn across(sums: Sums, mask: u32) -> Sums {
    return mat2x4<f32>(subgroupShuffleXor(sums[0], mask), subgroupShuffleXor(sums[1], mask));
}
