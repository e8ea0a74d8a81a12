//! Shuffle sharding: a flow's hand of queues. Two flows seldom have the same hand, so that one which floods its own
//! leaves others a queue.

/// The most cards of a hand.
pub(super) const MOST: usize = 15;

/// Deals `hand` cards out of a deck of `deck`, by the hash of a flow; each is a queue's index.
pub(super) fn deal(mut hash: u64, deck: usize, hand: usize) -> ([usize; MOST], usize) {
    let hand = hand.min(MOST).min(deck);
    let mut cards = [0; MOST];
    let mut remainders = [0; MOST];
    for (at, remainder) in remainders.iter_mut().take(hand).enumerate() {
        let left = (deck - at) as u64;
        *remainder = (hash % left) as usize;
        hash /= left;
    }
    for at in 0..hand {
        let mut card = remainders[at];
        for before in (0..at).rev() {
            if card >= remainders[before] {
                card += 1;
            }
        }
        cards[at] = card;
    }
    (cards, hand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_are_upstreams() {
        // Expectations of upstream's dealer.
        for (hash, deck, want) in [
            (8238791057607451177, 128, vec![41, 119, 0, 49, 67]),
            (1, 6, vec![1, 0, 2, 3]),
            (0, 6, vec![0, 1, 2, 3]),
            (23, 4, vec![3, 2, 1, 0]),
        ] {
            let (cards, hand) = deal(hash, deck, want.len());
            assert_eq!(cards[..hand], want[..], "{hash}");
        }
    }

    #[test]
    fn no_card_is_dealt_twice() {
        for hash in (0..10_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
            let (cards, hand) = deal(hash, 16, 8);
            let mut seen = cards[..hand].to_vec();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 8);
            assert!(seen.iter().all(|card| *card < 16));
        }
    }
}
