//! `cargo run --release --bin burn`

use burn::{
    backend::{Autodiff, Flex, NdArray},
    tensor::{
        Distribution, IndexingUpdateOp, Int, Tensor, TensorData,
        activation::{sigmoid, silu},
        backend::AutodiffBackend,
    },
};
use compare::{CHOSEN, EXPERT, EXPERTS, HIDDEN, SHARED, TOKENS, by_expert, report};

fn measure<B: AutodiffBackend>(name: &str) {
    let device = B::Device::default();
    let random = |rows, columns, std| {
        Tensor::<B, 2>::random([rows, columns], Distribution::Normal(0.0, std), &device).require_grad()
    };
    let router = random(HIDDEN, EXPERTS, 0.07);
    let gate_up: Vec<_> = (0..EXPERTS).map(|_| random(HIDDEN, 2 * EXPERT, 0.07)).collect();
    let down: Vec<_> = (0..EXPERTS).map(|_| random(EXPERT, HIDDEN, 0.07)).collect();
    let shared = [(HIDDEN, SHARED), (HIDDEN, SHARED), (SHARED, HIDDEN)].map(|(rows, columns)| random(rows, columns, 0.07));
    let x = random(TOKENS, HIDDEN, 1.0);
    report(name, || {
        let (weights, chosen) = sigmoid(x.clone().matmul(router.clone())).topk_with_indices(CHOSEN, 1);
        let weights = (weights.clone() / weights.sum_dim(1) * 2.5).reshape([TOKENS * CHOSEN]);
        let [gate, up, shared_down] = shared.clone();
        let mut y = (silu(x.clone().matmul(gate)) * x.clone().matmul(up)).matmul(shared_down);
        let chosen: Vec<i64> = chosen.into_data().convert::<i64>().to_vec().unwrap_or_default();
        for (expert, part) in by_expert(chosen.into_iter().map(|expert| expert as usize)).iter().enumerate() {
            let index = |values: Vec<i64>| Tensor::<B, 1, Int>::from_data(TensorData::new(values, [part.len()]), &device);
            let tokens = index(part.iter().map(|(token, _)| *token as i64).collect());
            let slots = index(part.iter().map(|(_, slot)| *slot as i64).collect());
            let rows = x.clone().select(0, tokens.clone()).matmul(gate_up[expert].clone());
            let [gate, up] = [0..EXPERT, EXPERT..2 * EXPERT].map(|half| rows.clone().slice([0..part.len(), half]));
            let weights: Tensor<B, 2> = weights.clone().select(0, slots).unsqueeze_dim(1);
            let out = (silu(gate) * up).matmul(down[expert].clone()) * weights;
            y = y.select_assign(0, tokens, out, IndexingUpdateOp::Add);
        }
        y.powi_scalar(2).mean().backward();
    });
}

fn main() {
    measure::<Autodiff<NdArray>>("burn, ndarray");
    measure::<Autodiff<Flex>>("burn, flex");
}
