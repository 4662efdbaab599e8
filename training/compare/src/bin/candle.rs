//! `cargo run --release --bin candle`

use candle_core::{D, Device, Result, Tensor, Var};
use candle_nn::ops::{sigmoid, silu};
use compare::{CHOSEN, EXPERT, EXPERTS, HIDDEN, SHARED, TOKENS, by_expert, report};

struct Block {
    router: Var,
    gate_up: Vec<Var>,
    down: Vec<Var>,
    shared: [Var; 3],
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let scores = sigmoid(&x.matmul(&self.router)?)?;
        let chosen = scores.arg_sort_last_dim(false)?.narrow(D::Minus1, 0, CHOSEN)?.contiguous()?;
        let weights = scores.gather(&chosen, D::Minus1)?;
        let weights = (weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)? * 2.5)?.flatten_all()?;
        let [gate, up, down] = &self.shared;
        let mut y = (silu(&x.matmul(gate)?)? * x.matmul(up)?)?.matmul(down)?;
        let chosen: Vec<u32> = chosen.flatten_all()?.to_vec1()?;
        for (expert, part) in by_expert(chosen.into_iter().map(|expert| expert as usize)).iter().enumerate() {
            let index = |values: Vec<u32>| Tensor::new(values, &Device::Cpu);
            let tokens = index(part.iter().map(|(token, _)| *token as u32).collect())?;
            let slots = index(part.iter().map(|(_, slot)| *slot as u32).collect())?;
            let gate_up = x.index_select(&tokens, 0)?.matmul(&self.gate_up[expert])?;
            let activation = (silu(&gate_up.narrow(1, 0, EXPERT)?)? * gate_up.narrow(1, EXPERT, EXPERT)?)?;
            let weights = weights.index_select(&slots, 0)?.unsqueeze(1)?;
            y = y.index_add(&tokens, &activation.matmul(&self.down[expert])?.broadcast_mul(&weights)?, 0)?;
        }
        Ok(y)
    }
}

fn main() -> Result<()> {
    let random = |rows, columns| Var::randn(0f32, 0.07, (rows, columns), &Device::Cpu);
    let block = Block {
        router: random(HIDDEN, EXPERTS)?,
        gate_up: (0..EXPERTS).map(|_| random(HIDDEN, 2 * EXPERT)).collect::<Result<_>>()?,
        down: (0..EXPERTS).map(|_| random(EXPERT, HIDDEN)).collect::<Result<_>>()?,
        shared: [random(HIDDEN, SHARED)?, random(HIDDEN, SHARED)?, random(SHARED, HIDDEN)?],
    };
    let x = Var::randn(0f32, 1.0, (TOKENS, HIDDEN), &Device::Cpu)?;
    let step = || block.forward(&x)?.sqr()?.mean_all()?.backward();
    step()?;
    report("candle", || drop(step()));
    Ok(())
}
