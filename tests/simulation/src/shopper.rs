//! The state of a shopper, which survives crashes of the platform.

use fastrand::Rng;

use crate::request::Request;

/// One customer with one order, and the shop's requests about it.
#[derive(Debug)]
pub struct Shopper {
    pub number: usize,
    pub rng: Rng,
    /// The request that places the order.
    pub placing: Option<Request>,
    /// Requests without a final answer.
    pub pending: Vec<Request>,
    /// Requests drawn so far, after the placing.
    pub drawn: usize,
    /// Requests still to draw.
    pub left: usize,
}

impl Shopper {
    pub fn new(number: usize, mut rng: Rng) -> Self {
        let left = rng.usize(2..14);
        Self { number, rng, placing: None, pending: Vec::new(), drawn: 0, left }
    }
}
