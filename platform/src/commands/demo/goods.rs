//! What the shop of the demo sells, and to whom.

use fastrand::Rng;

/// Goods with their price in minor units. The first are ordered most.
pub(super) const GOODS: [(&str, i64); 24] = [
    ("MUG-STONEWARE-BLUE", 1_450),
    ("CANDLE-FIG-220G", 2_200),
    ("TEA-EARL-GREY-100G", 895),
    ("TOWEL-LINEN-SAND", 1_850),
    ("NOTEBOOK-A5-DOTS", 1_200),
    ("MUG-STONEWARE-WHITE", 1_450),
    ("COFFEE-ETHIOPIA-250G", 1_150),
    ("SOAP-OLIVE-BAR", 650),
    ("VASE-RIBBED-SMALL", 2_600),
    ("APRON-DENIM", 3_400),
    ("TEAPOT-CAST-IRON", 5_900),
    ("PLATE-SPECKLED-26CM", 1_900),
    ("BLANKET-WOOL-GREY", 8_900),
    ("LAMP-DESK-BRASS", 11_900),
    ("POSTER-BOTANY-50X70", 2_900),
    ("CUSHION-VELVET-RUST", 3_200),
    ("BASKET-SEAGRASS-L", 4_500),
    ("BOARD-OAK-40CM", 3_900),
    ("KETTLE-GOOSENECK", 7_400),
    ("CLOCK-WALL-ASH", 6_200),
    ("GLASS-TUMBLER-SET4", 2_800),
    ("PEN-FOUNTAIN-BLACK", 4_800),
    ("UMBRELLA-NAVY", 3_600),
    ("RUG-JUTE-120X180", 14_900),
];

/// Fewer are in stock than customers want.
pub(super) const SCARCE: (&str, i64) = ("PRINT-LIMITED-2026", 9_500);

/// Country, currency, and how many of a hundred orders come from there.
const COUNTRIES: [(&str, &str, u32); 7] = [
    ("United Kingdom", "GBP", 62),
    ("Ireland", "EUR", 9),
    ("Germany", "EUR", 9),
    ("France", "EUR", 8),
    ("Netherlands", "EUR", 5),
    ("Spain", "EUR", 4),
    ("Italy", "EUR", 3),
];

/// How many orders come in each hour of a day: few at night, most in the evening.
const HOURS: [u32; 24] =
    [8, 4, 2, 2, 2, 4, 10, 22, 38, 48, 55, 60, 66, 60, 54, 52, 54, 60, 72, 90, 96, 84, 52, 24];

const CUSTOMERS: f64 = 700.0;

pub(super) fn country(rng: &mut Rng) -> (&'static str, &'static str) {
    let chosen = weighted(rng, COUNTRIES.iter().map(|(_, _, weight)| *weight));
    let (country, currency, _) = COUNTRIES[chosen];
    (country, currency)
}

pub(super) fn hour(rng: &mut Rng) -> usize {
    weighted(rng, HOURS.iter().copied())
}

/// `None` for a guest. Some customers come again and again.
pub(super) fn customer(rng: &mut Rng) -> Option<String> {
    let number = (rng.f64().powi(2) * CUSTOMERS).floor();
    (!rng.chance(12)).then(|| format!("C-{:05}", 10_001.0 + number))
}

/// Goods with their quantity. Each only once.
pub(super) fn basket(rng: &mut Rng) -> Vec<(&'static str, i64, u32)> {
    let mut lines: Vec<(&'static str, i64, u32)> = Vec::new();
    for _ in 0..=weighted(rng, [45, 30, 17, 8].into_iter()) {
        // The first goods are chosen more often.
        let at = rng.usize(0..GOODS.len()).min(rng.usize(0..GOODS.len()));
        let (sku, price) = GOODS[at];
        if lines.iter().all(|(taken, ..)| *taken != sku) {
            lines.push((sku, price, 1 + u32::from(rng.chance(22)) + u32::from(rng.chance(6))));
        }
    }
    lines
}

/// The index of one of these weights.
fn weighted(rng: &mut Rng, weights: impl Iterator<Item = u32> + Clone) -> usize {
    let mut left = rng.u32(0..weights.clone().sum());
    for (at, weight) in weights.enumerate() {
        if left < weight {
            return at;
        }
        left -= weight;
    }
    0
}

pub(super) trait Chance {
    /// True so many times of a hundred.
    fn chance(&mut self, percent: u32) -> bool;
}

impl Chance for Rng {
    fn chance(&mut self, percent: u32) -> bool {
        self.u32(0..100) < percent
    }
}
