fn across(sums: Sums, mask: u32) -> Sums {
    return subgroupShuffleXor(sums, mask);
}
