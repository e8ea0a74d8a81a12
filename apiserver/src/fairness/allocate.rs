//! Sharing seats out among levels: each gets the same fraction of what it wants, within its bounds.

/// A level's wish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) target: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// Targets below this count as this.
const LEAST_TARGET: f64 = 0.001;
const EPSILON: f64 = 1e-7;

/// The shares, which add up to `sum`, and the fraction of its target that a level without bounds gets. `None` if the bounds don't
/// permit the sum.
pub(super) fn allocate(sum: usize, wishes: &[Wish]) -> Option<(Vec<f64>, f64)> {
    let sum = sum as f64;
    let target = |wish: &Wish| wish.target.max(LEAST_TARGET);
    if wishes.iter().any(|wish| wish.least < 0.0 || wish.target < wish.least || wish.most < wish.least) {
        return None;
    }
    let (least, most): (f64, f64) =
        wishes.iter().fold((0.0, 0.0), |(least, most), wish| (least + wish.least, most + wish.most));
    if least - sum > EPSILON || sum - most > EPSILON {
        return None;
    }
    if sum == 0.0 {
        return Some((vec![0.0; wishes.len()], 0.0));
    }
    let shares = |fraction: f64| -> Vec<f64> {
        wishes.iter().map(|wish| (fraction * target(wish)).clamp(wish.least, wish.most)).collect()
    };
    // What the shares add up to grows with the fraction, in straight lines between the bounds.
    let mut bounds: Vec<f64> =
        wishes.iter().flat_map(|wish| [wish.least / target(wish), wish.most / target(wish)]).collect();
    bounds.sort_by(f64::total_cmp);
    let total = |fraction: f64| shares(fraction).iter().sum::<f64>();
    let (mut low, mut below) = (0.0, total(0.0));
    for high in bounds {
        let above = total(high);
        if above >= sum - EPSILON {
            let fraction =
                if above > below { low + (high - low) * (sum - below) / (above - below) } else { high };
            let fraction = fraction.clamp(low, high);
            return Some((shares(fraction), fraction));
        }
        (low, below) = (high, above);
    }
    Some((shares(low), low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_fair_within_bounds() {
        let wish = |target, least, most| Wish { target, least, most };
        let cases = [
            // No bounds matter.
            (10, vec![wish(5.0, 0.0, 20.0), wish(15.0, 0.0, 20.0)], vec![2.5, 7.5], 0.5),
            // A lower bound holds one up.
            (10, vec![wish(5.0, 4.0, 20.0), wish(15.0, 0.0, 20.0)], vec![4.0, 6.0], 0.4),
            // An upper bound holds one down.
            (10, vec![wish(5.0, 0.0, 20.0), wish(15.0, 0.0, 6.0)], vec![4.0, 6.0], 0.8),
            // Nobody wants anything, but it must go somewhere.
            (10, vec![wish(0.0, 0.0, 20.0), wish(0.0, 0.0, 20.0)], vec![5.0, 5.0], 5000.0),
        ];
        for (sum, wishes, want, fraction) in cases {
            let (got, fair) = allocate(sum, &wishes).expect("possible");
            assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} {want:?}");
            assert!((fair - fraction).abs() < 1e-3, "{fair} {fraction}");
        }
        assert!(allocate(10, &[wish(20.0, 20.0, 30.0)]).is_none());
        assert!(allocate(10, &[wish(1.0, 0.0, 5.0)]).is_none());
    }
}
