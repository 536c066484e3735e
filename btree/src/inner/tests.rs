//! Cutting and building inner pages.

use proptest::prelude::*;

use super::*;

fn child(n: u64, key_bytes: usize) -> Child {
    let mut key = format!("{n:06}").into_bytes();
    key.resize(key.len().max(key_bytes), b'x');
    Child { key, pid: n + 10 }
}

proptest! {
    #[test]
    fn pieces_are_whole_in_order_and_have_two_children(lens in prop::collection::vec(prop_oneof![3 => 6..40usize, 1 => 6..16_000usize], 1..200), appended in any::<bool>()) {
        let children: Vec<Child> = lens.iter().zip(0..).map(|(&len, n)| child(n, len)).collect();
        let cuts = cut(&children, 2048, appended);
        prop_assert_eq!(cuts.first().map(|cut| cut.start), Some(0));
        prop_assert_eq!(cuts.last().map(|cut| cut.end), Some(children.len()));
        prop_assert!(cuts.windows(2).all(|pair| pair[0].end == pair[1].start));
        if cuts.len() > 1 {
            prop_assert!(cuts.iter().all(|cut| cut.len() >= 2), "I2: {:?}", cuts);
        }
        for (index, cut) in cuts.iter().enumerate() {
            let low = if index == 0 { &[][..] } else { &children[cut.start].key };
            let high = children.get(cut.end).map_or(&[][..], |next| &next.key);
            let head = InnerHead { pid: 3, keyspace: KeyspaceId::new(7), level: 1, right_pid: 0, low, high };
            let image = build(&children[cut.clone()], &head); // fits the largest image, else it panics
            let read = super::children(&image);
            prop_assert_eq!(read.iter().map(|child| child.pid).collect::<Vec<_>>(), children[cut.clone()].iter().map(|child| child.pid).collect::<Vec<_>>());
            prop_assert_eq!(&read[0].key[..], low, "I1");
        }
    }
}

#[test]
fn the_longest_keys_fit() {
    let children: Vec<Child> = (0..9).map(|n| child(n, duramen_base::options::KEY_BYTES_MAX)).collect();
    for cut in cut(&children, 1024, false) {
        let high = children.get(cut.end).map_or(&[][..], |next| &next.key);
        let low = children[cut.start].key.clone();
        let head = InnerHead { pid: 3, keyspace: KeyspaceId::new(7), level: 1, right_pid: 0, low: &low, high };
        build(&children[cut], &head);
    }
}
