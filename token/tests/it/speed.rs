//! How long one verification takes; run by hand with `--release --ignored --nocapture`.

use std::time::Instant;

use crate::kit::{Signer, World};

#[tokio::test]
#[ignore = "measures"]
async fn one_verification_takes() {
    const ROUNDS: u32 = 2_000;
    let signers = Signer::all();
    let world = World::publishing(&signers.each_ref()).await;
    for signer in &signers {
        let token = signer.token();
        world.verify(&token).await.unwrap();
        let mut each: Vec<_> = Vec::with_capacity(ROUNDS as usize);
        for _ in 0..ROUNDS {
            let started = Instant::now();
            world.verify(&token).await.unwrap();
            each.push(started.elapsed());
        }
        each.sort();
        let median = each[each.len() / 2];
        println!("{}: median {median:?}, 99th of 100 {:?}", signer.algorithm(), each[each.len() * 99 / 100]);
    }
}
