//! Chooses one node of a set: the less busy of two random ones, each drawn as often as its weight says.
//!
//! Pure; `backend` lends it a random number. It must never choose a node outside of the set.

use super::Standing;

/// The position in `0..len`. `of` says which standing stands there.
pub(crate) fn pick<'a>(len: usize, random: u64, of: impl Fn(usize) -> &'a Standing) -> usize {
    if len <= 1 {
        return 0;
    }
    let total: u64 = (0..len).map(|position| of(position).part()).sum();
    if total == 0 {
        // None of them should serve, and one must.
        return (random % len as u64) as usize;
    }
    // Two numbers of 32 bits: a weight is at most a few thousand, so what the remainder favours does not show.
    let (one, two) = (random & 0xffff_ffff, random >> 32);
    let first = draw(len, one % total, None, &of);
    let rest = total - of(first).part();
    if rest == 0 {
        return first;
    }
    let second = draw(len, two % rest, Some(first), &of);
    let busy = |position: usize, against: usize| of(position).usage.load() as u64 * of(against).part();
    if busy(second, first) < busy(first, second) { second } else { first }
}

/// The position at which `point` falls when the weights are laid end to end, without that of `but`.
fn draw<'a>(len: usize, mut point: u64, but: Option<usize>, of: &impl Fn(usize) -> &'a Standing) -> usize {
    let mut last = 0;
    for position in (0..len).filter(|position| Some(*position) != but) {
        let weight = of(position).part();
        if point < weight {
            return position;
        }
        point -= weight;
        last = position;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// splitmix64.
    fn next(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn standings(shares: &[u32]) -> Vec<Standing> {
        let standings: Vec<Standing> =
            shares.iter().map(|_| Standing { usage: std::rc::Rc::default(), weight: 1, local: false }).collect();
        standings.iter().zip(shares).for_each(|(standing, share)| standing.usage.set_share(*share));
        standings
    }

    #[test]
    fn idle_nodes_are_chosen_by_their_weights() {
        // A share of 100 with a weight of 1; what the two come to is what counts.
        for shares in [&[100, 100, 100][..], &[100, 50, 50], &[10, 90], &[0, 100, 100]] {
            let (nodes, mut seed, mut counts) = (standings(shares), 7, vec![0u32; shares.len()]);
            for _ in 0..30_000 {
                counts[pick(nodes.len(), next(&mut seed), |position| &nodes[position])] += 1;
            }
            let total: u32 = shares.iter().sum();
            for (count, share) in counts.iter().zip(shares) {
                let expected = 30_000 * share / total;
                assert!(count.abs_diff(expected) <= 30_000 / 50, "{shares:?}: {counts:?}");
            }
        }
    }

    /// A queue for each node, one answer a step from each: the queues stay short though all are drawn at random.
    #[test]
    fn the_less_busy_one_is_preferred() {
        let (nodes, mut seed) = (standings(&[100, 100, 100]), 1);
        nodes[0].usage.load_moved(0, 500);
        for _ in 0..600 {
            let node = &nodes[pick(3, next(&mut seed), |position| &nodes[position])].usage;
            node.load_moved(0, 1);
        }
        assert_eq!(nodes[0].usage.load(), 500, "the busy one got nothing while others were less busy");
        assert!(nodes[1].usage.load().abs_diff(nodes[2].usage.load()) < 30);
    }

    #[test]
    fn who_weighs_nothing_is_chosen_only_where_all_do() {
        let (nodes, mut seed) = (standings(&[0, 0]), 3);
        let mut seen = [false; 2];
        (0..50).for_each(|_| seen[pick(2, next(&mut seed), |position| &nodes[position])] = true);
        assert_eq!(seen, [true; 2]);
    }
}
