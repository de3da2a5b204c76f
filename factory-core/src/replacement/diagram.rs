//! Feerate diagrams: what a mempool earns a miner, virtual byte by virtual byte.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

/// Transactions that are mined together: their fees in satoshi and their size in weight units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) fee: i128,
    pub(super) size: i128,
}

/// A transaction in the graph to be cut into chunks, with the numbers of its parents there.
#[derive(Clone, Debug)]
pub(super) struct Vertex {
    pub(super) chunk: Chunk,
    pub(super) parents: Vec<usize>,
}

/// Cuts a graph of transactions into the chunks of its best order, the best first.
///
/// Each chunk is the set with the highest feerate among those that hold all their ancestors, which is where a perfect
/// linearization begins. It is found by Dinkelbach's method: to beat the feerate of the set at hand, take the set that gains
/// most over it, a closure of maximum weight, which is a minimum cut.
pub(super) fn chunks(graph: &[Vertex]) -> Vec<Chunk> {
    let mut left: Vec<usize> = (0..graph.len()).collect();
    let mut chunks = Vec::new();
    while !left.is_empty() {
        let mut best = left.clone();
        let mut chunk = sum(graph, &best);
        loop {
            let gains: Vec<i128> =
                left.iter().map(|&v| graph[v].chunk.fee * chunk.size - graph[v].chunk.size * chunk.fee).collect();
            let better = heaviest_closure(graph, &left, &gains);
            if better.is_empty() {
                break;
            }
            best = better;
            chunk = sum(graph, &best);
        }
        left.retain(|vertex| !best.contains(vertex));
        chunks.push(chunk);
    }
    chunks
}

fn sum(graph: &[Vertex], of: &[usize]) -> Chunk {
    let add = |a: Chunk, b: Chunk| Chunk { fee: a.fee + b.fee, size: a.size + b.size };
    of.iter().map(|&vertex| graph[vertex].chunk).fold(Chunk::default(), add)
}

/// The set among `left` that holds its own parents and gains most; empty if none gains anything.
fn heaviest_closure(graph: &[Vertex], left: &[usize], gains: &[i128]) -> Vec<usize> {
    let place: BTreeMap<usize, usize> = left.iter().enumerate().map(|(place, &vertex)| (vertex, place)).collect();
    let (source, sink) = (left.len(), left.len() + 1);
    let mut room = vec![vec![0_i128; left.len() + 2]; left.len() + 2];
    for (place_of, (&vertex, &gain)) in left.iter().zip(gains).enumerate() {
        match gain.cmp(&0) {
            Ordering::Greater => room[source][place_of] = gain,
            Ordering::Less => room[place_of][sink] = -gain,
            Ordering::Equal => {}
        }
        for parent in &graph[vertex].parents {
            if let Some(&parent) = place.get(parent) {
                room[place_of][parent] = i128::MAX / 4;
            }
        }
    }
    loop {
        // The shortest way with room left; when there is none, what the source still reaches is the closure.
        let mut from = vec![None; room.len()];
        let mut queue = VecDeque::from([source]);
        from[source] = Some(source);
        while let Some(at) = queue.pop_front() {
            for next in 0..room.len() {
                if from[next].is_none() && room[at][next] > 0 {
                    from[next] = Some(at);
                    queue.push_back(next);
                }
            }
        }
        if from[sink].is_none() {
            return left.iter().zip(&from).filter(|(_, from)| from.is_some()).map(|(&vertex, _)| vertex).collect();
        }
        let way: Vec<(usize, usize)> = std::iter::successors(Some(sink), |&at| from[at].filter(|&before| before != at))
            .collect::<Vec<_>>()
            .windows(2)
            .map(|pair| (pair[1], pair[0]))
            .collect();
        let flow = way.iter().map(|&(a, b)| room[a][b]).min().unwrap_or(0);
        for (a, b) in way {
            room[a][b] -= flow;
            room[b][a] += flow;
        }
    }
}

/// Whether the diagram of `new` lies nowhere below that of `old`, and somewhere above it.
///
/// Beyond its last chunk a diagram goes on level.
pub(super) fn improves(new: &[Chunk], old: &[Chunk]) -> bool {
    let (new, old) = (Diagram::new(new), Diagram::new(old));
    let mut above = false;
    // Both are broken lines, so it is enough to compare them where one of them bends.
    for size in new.points.iter().chain(&old.points).map(|point| point.size) {
        match new.at(size, &old) {
            Ordering::Less => return false,
            Ordering::Greater => above = true,
            Ordering::Equal => {}
        }
    }
    above
}

struct Diagram {
    points: Vec<Chunk>,
}

impl Diagram {
    fn new(chunks: &[Chunk]) -> Self {
        let mut points = vec![Chunk::default()];
        for chunk in chunks {
            let last = points[points.len() - 1];
            points.push(Chunk { fee: last.fee + chunk.fee, size: last.size + chunk.size });
        }
        Diagram { points }
    }

    /// The height at `size`, as a fraction.
    fn height(&self, size: i128) -> (i128, i128) {
        let after = self.points.partition_point(|point| point.size < size);
        match (after.checked_sub(1).map(|before| self.points[before]), self.points.get(after)) {
            (_, Some(point)) if point.size == size => (point.fee, 1),
            (Some(a), Some(b)) => (a.fee * (b.size - a.size) + (b.fee - a.fee) * (size - a.size), b.size - a.size),
            (Some(a), None) => (a.fee, 1),
            (None, _) => (0, 1),
        }
    }

    /// How this one's height at `size` compares with the other's.
    fn at(&self, size: i128, other: &Diagram) -> Ordering {
        let ((a, p), (b, q)) = (self.height(size), other.height(size));
        (a * q).cmp(&(b * p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(of: &[(i128, i128, &[usize])]) -> Vec<Vertex> {
        let vertex = |&(fee, size, parents): &(i128, i128, &[usize])| Vertex {
            chunk: Chunk { fee, size },
            parents: parents.to_vec(),
        };
        of.iter().map(vertex).collect()
    }

    fn cut(of: &[(i128, i128, &[usize])]) -> Vec<(i128, i128)> {
        chunks(&graph(of)).iter().map(|chunk| (chunk.fee, chunk.size)).collect()
    }

    /// All diagrams of all orders, by brute force: the best height at each size is that of the best closed set.
    fn best_heights(graph: &[Vertex]) -> BTreeMap<i128, i128> {
        let mut best = BTreeMap::new();
        for set in 0_u32..1 << graph.len() {
            let inside = |vertex: usize| set >> vertex & 1 == 1;
            let closed = (0..graph.len()).all(|v| !inside(v) || graph[v].parents.iter().all(|&p| inside(p)));
            if closed {
                let members: Vec<usize> = (0..graph.len()).filter(|&v| inside(v)).collect();
                let total = sum(graph, &members);
                let height = best.entry(total.size).or_insert(total.fee);
                *height = total.fee.max(*height);
            }
        }
        best
    }

    #[test]
    fn a_child_pays_for_its_parent_and_not_for_its_sibling() {
        assert_eq!(cut(&[(1, 10, &[]), (19, 10, &[0]), (5, 10, &[0])]), [(20, 20), (5, 10)]);
        assert_eq!(cut(&[(10, 10, &[]), (1, 10, &[0])]), [(10, 10), (1, 10)]);
        assert_eq!(cut(&[]), []);
    }

    #[test]
    fn no_closed_set_lies_above_the_diagram_and_every_chunk_is_one() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..300 {
            let count = 1 + random(9) as usize;
            let mut graph = Vec::new();
            for number in 0..count {
                let parents = (0..number).filter(|_| random(3) == 0).collect();
                let chunk = Chunk { fee: random(50).into(), size: (1 + random(20)).into() };
                graph.push(Vertex { chunk, parents });
            }
            let chunks = chunks(&graph);
            assert!(
                chunks.windows(2).all(|pair| pair[0].fee * pair[1].size >= pair[1].fee * pair[0].size),
                "{graph:?}"
            );
            let diagram = Diagram::new(&chunks);
            let best = best_heights(&graph);
            for (&size, &fee) in &best {
                let (height, over) = diagram.height(size);
                assert!(fee * over <= height, "{graph:?}");
            }
            for point in &diagram.points {
                assert_eq!(best.get(&point.size), Some(&point.fee), "{graph:?}");
            }
        }
    }

    #[test]
    fn better_means_never_below_and_somewhere_above() {
        let chunk = |fee, size| Chunk { fee, size };
        assert!(improves(&[chunk(240, 240)], &[chunk(197, 197)]));
        assert!(!improves(&[chunk(239, 240)], &[chunk(197, 197)]));
        assert!(!improves(&[chunk(197, 197)], &[chunk(197, 197)]));
        assert!(improves(&[chunk(10, 10)], &[]));
        assert!(!improves(&[chunk(0, 10)], &[]));
        // Smaller, and less in the end.
        assert!(improves(&[chunk(20, 10)], &[chunk(20, 20)]));
        assert!(!improves(&[chunk(19, 10)], &[chunk(20, 20)]));
        // More in the end, and less at first.
        assert!(!improves(&[chunk(30, 20)], &[chunk(20, 10), chunk(1, 10)]));
    }
}
