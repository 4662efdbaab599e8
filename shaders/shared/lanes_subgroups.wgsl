// Sums over threads by subgroup operations, as far as SUBGROUP (the fewest threads a subgroup has, 4 to 128) reaches; the
// rest as lanes_barriers.wgsl. Every thread of the workgroup comes to each of these.
//
// That neighbouring threads are neighbours in their subgroup was found out beforehand (src/gpu/features.rs).
enable subgroups;

#import across

fn largest_of_four(local: u32, value: f32) -> f32 {
    let largest = max(value, subgroupShuffleXor(value, 1u));
    return max(largest, subgroupShuffleXor(largest, 2u));
}

fn add_lanes(local: u32, lanes: u32, sums: Sums) -> Sums {
    var total = sums;
    for (var mask = 1u; mask < min(lanes, SUBGROUP); mask <<= 1u) {
        total += across(total, mask);
    }
    if (lanes > SUBGROUP) {
        workgroupBarrier();
        put(local, total);
        workgroupBarrier();
        if (local % lanes == 0u) {
            for (var lane = SUBGROUP; lane < lanes; lane += SUBGROUP) {
                total += got(local + lane);
            }
        }
    }
    return total;
}

fn share(local: u32, apart: u32, value: vec4<f32>) {
    var sum = value;
    for (var mask = apart; mask < SUBGROUP; mask <<= 1u) {
        sum += subgroupShuffleXor(sum, mask);
    }
    workgroupBarrier();
    let span = max(apart, SUBGROUP);
    if (local % span < apart) {
        scratch[local / span * apart + local % apart] = sum;
    }
    workgroupBarrier();
}
fn shared_sum(i: u32, apart: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var part = 0u; part < 256u / max(apart, SUBGROUP); part++) {
        sum += scratch[part * apart + i];
    }
    return sum;
}
