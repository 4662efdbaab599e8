// Sums over threads through workgroup memory. Every thread of the workgroup comes to each of these.

// The largest value among threads 4k .. 4k+3.
fn largest_of_four(local: u32, value: f32) -> f32 {
    scratch[local].x = value;
    workgroupBarrier();
    let first = local - local % 4u;
    return max(max(scratch[first].x, scratch[first + 1u].x), max(scratch[first + 2u].x, scratch[first + 3u].x));
}

// The sum over `lanes` neighbours, in the first of them.
fn add_lanes(local: u32, lanes: u32, sums: Sums) -> Sums {
    workgroupBarrier();
    put(local, sums);
    workgroupBarrier();
    var total = sums;
    if (local % lanes == 0u) {
        for (var lane = 1u; lane < lanes; lane++) {
            total += got(local + lane);
        }
    }
    return total;
}

// Afterwards shared_sum(i, apart) has the sum over threads i, i + apart, i + 2 apart, ... (`apart` is a power of 2). Where that
// are many, 32 threads (of each sum) add up their share first; where few, a barrier more is not worth it.
fn parts_of(apart: u32) -> u32 {
    return select(256u / apart, 32u, 256u / apart > 64u);
}
fn share(local: u32, apart: u32, value: vec4<f32>) {
    workgroupBarrier();
    scratch[local] = value;
    workgroupBarrier();
    let kept = parts_of(apart) * apart;
    if (kept < 256u) {
        if (local < kept) {
            var sum = value;
            for (var at = local + kept; at < 256u; at += kept) {
                sum += scratch[at];
            }
            scratch[local] = sum;
        }
        workgroupBarrier();
    }
}
fn shared_sum(i: u32, apart: u32) -> vec4<f32> {
    var sum = scratch[i];
    for (var part = 1u; part < parts_of(apart); part++) {
        sum += scratch[i + part * apart];
    }
    return sum;
}
