//! Reading: every form of get and scan, by snapshots and by transactions that have written.

use std::ops::Bound;

use duramen::{BackendKind, Database, Entry, Keyspace, Reader, Result, Transaction, Value};

use super::{database, on_each_kind, text, words, words_back};

fn put_all(db: &Database, ks: &Keyspace, pairs: &str) {
    db.update(|tx| put_words(tx, ks, pairs)).expect("a commit");
}

fn put_words(tx: &Transaction, ks: &Keyspace, pairs: &str) -> Result<()> {
    pairs.split_whitespace().try_for_each(|pair| {
        let (key, value) = pair.split_once('=').expect("key=value");
        tx.put(ks, key, value)
    })
}

fn every_form_of_get_reads_the_same(kind: BackendKind) {
    let (db, ks) = database(kind);
    let long = "long".repeat(2000);
    put_all(&db, &ks, &format!("a=1 empty= long={long}"));
    let check = |reader: &dyn Fn(&str) -> [Option<Vec<u8>>; 4]| {
        for (key, expected) in [("a", Some("1")), ("empty", Some("")), ("long", Some(&*long)), ("absent", None)] {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert!(reader(key).iter().all(|found| *found == expected), "{key}");
        }
    };
    fn forms(reader: &impl Reader, ks: &Keyspace, key: &str) -> [Option<Vec<u8>>; 4] {
        let mut buffer = b"old content".to_vec();
        let there = reader.get_into(ks, key, &mut buffer).expect("readable");
        assert_eq!(reader.contains(ks, key).expect("readable"), there);
        let several = reader.multi_get(ks, &["absent", key, key]).expect("readable");
        assert_eq!((several.len(), &several[0], &several[1]), (3, &None, &several[2]));
        [
            reader.get(ks, key).expect("readable").map(|value| value.to_vec()),
            reader.get_with(ks, key, |value| value.map(<[u8]>::to_vec)).expect("readable"),
            there.then_some(buffer),
            several[1].as_ref().map(|value| value.to_vec()),
        ]
    }
    let snapshot = db.snapshot().expect("open");
    check(&|key| forms(&snapshot, &ks, key));
    let tx = db.begin().expect("open");
    check(&|key| forms(&tx, &ks, key));
    // From its own writes, and from files.
    put_words(&tx, &ks, &format!("a=1 empty= long={long}")).expect("room");
    check(&|key| forms(&tx, &ks, key));
    db.checkpoint().expect("a good disk");
    let snapshot = db.snapshot().expect("open");
    check(&|key| forms(&snapshot, &ks, key));
}

fn a_transaction_reads_its_own_writes(kind: BackendKind) {
    let (db, ks) = database(kind);
    put_all(&db, &ks, "a=1 b=1 c=1 d=1 e=1");
    let tx = db.begin().expect("open");
    put_words(&tx, &ks, "b=2 bb=2 f=2").expect("room");
    tx.delete(&ks, "c").expect("room");
    tx.delete(&ks, "nothing").expect("room");
    assert_eq!(text(tx.get(&ks, "b").expect("readable")).as_deref(), Some("2"));
    assert_eq!(text(tx.get(&ks, "bb").expect("readable")).as_deref(), Some("2"));
    assert_eq!(tx.get(&ks, "c").expect("readable"), None);
    assert_eq!(text(tx.get(&ks, "d").expect("readable")).as_deref(), Some("1"));
    assert_eq!(words(tx.iter(&ks).expect("readable")), "a=1 b=2 bb=2 d=1 e=1 f=2");
    assert_eq!(words_back(tx.iter(&ks).expect("readable")), "f=2 e=1 d=1 bb=2 b=2 a=1");
    assert_eq!(words(tx.range(&ks, "b".."e").expect("readable")), "b=2 bb=2 d=1");
    assert_eq!(words_back(tx.range(&ks, "b"..="e").expect("readable")), "e=1 d=1 bb=2 b=2");
    assert_eq!(words(tx.prefix(&ks, "b").expect("readable")), "b=2 bb=2");
    assert_eq!(&*tx.first(&ks).expect("readable").expect("some").key, b"a");
    assert_eq!(&*tx.last(&ks).expect("readable").expect("some").key, b"f");
    let others = db.snapshot().expect("open");
    assert_eq!(words(others.iter(&ks).expect("readable")), "a=1 b=1 c=1 d=1 e=1", "nobody else sees them");
    tx.commit().expect("nobody else wrote");
    assert_eq!(words(others.iter(&ks).expect("readable")), "a=1 b=1 c=1 d=1 e=1", "a snapshot stays");
    let after = db.snapshot().expect("open");
    assert_eq!(words(after.iter(&ks).expect("readable")), "a=1 b=2 bb=2 d=1 e=1 f=2");
}

fn own_range_deletes_hide_and_later_puts_show(kind: BackendKind) {
    let (db, ks) = database(kind);
    put_all(&db, &ks, "a=1 b=1 c=1 d=1 e=1 f=1");
    let tx = db.begin().expect("open");
    put_words(&tx, &ks, "bb=2 cc=2").expect("room");
    tx.delete_range(&ks, "b", "d").expect("room");
    assert_eq!(words(tx.iter(&ks).expect("readable")), "a=1 d=1 e=1 f=1");
    put_words(&tx, &ks, "c=3").expect("room");
    tx.delete_range(&ks, "e", "").expect("room");
    put_words(&tx, &ks, "z=3").expect("room");
    assert_eq!(words(tx.iter(&ks).expect("readable")), "a=1 c=3 d=1 z=3");
    assert_eq!(words_back(tx.iter(&ks).expect("readable")), "z=3 d=1 c=3 a=1");
    assert_eq!(words(tx.range(&ks, "b".."c").expect("readable")), "");
    assert_eq!(words(tx.range(&ks, "bb".."d").expect("readable")), "c=3");
    assert!(!tx.contains(&ks, "b").expect("readable") && !tx.contains(&ks, "yy").expect("readable"));
    assert_eq!(&*tx.last(&ks).expect("readable").expect("some").key, b"z");
    tx.commit().expect("nobody else wrote");
    assert_eq!(words(db.snapshot().expect("open").iter(&ks).expect("readable")), "a=1 c=3 d=1 z=3");
    db.update(|tx| tx.delete_range(&ks, "", "")).expect("a commit");
    assert_eq!(db.snapshot().expect("open").first(&ks).expect("readable"), None);
}

fn an_iterator_meets_itself_in_the_middle(kind: BackendKind) {
    let (db, ks) = database(kind);
    let all: Vec<String> = (0..60).map(|i| format!("{i:03}")).collect();
    db.update(|tx| all.iter().step_by(2).try_for_each(|key| tx.put(&ks, key, key))).expect("a commit");
    let tx = db.begin().expect("open");
    all.iter().skip(1).step_by(2).try_for_each(|key| tx.put(&ks, key, key)).expect("room");
    for front in 0..=all.len() {
        let mut iter = tx.iter(&ks).expect("readable");
        let key = |entry: Result<Entry>| super::text_of(&entry.expect("readable").key);
        let mut met: Vec<String> = iter.by_ref().take(front).map(key).collect();
        // Turn by turn from here on.
        let mut back = Vec::new();
        while let Some(entry) = iter.next_back() {
            back.push(key(entry));
            met.extend(iter.next().map(key));
        }
        assert!(iter.next().is_none() && iter.next_back().is_none(), "it stays at the end");
        met.extend(back.into_iter().rev());
        assert_eq!(met, all, "{front} from the front");
    }
}

fn a_lent_entry_is_the_one_that_the_iterator_gives(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| (0..400).try_for_each(|i| tx.put(&ks, format!("{i:03}"), "v".repeat(i % 60)))).expect("a commit");
    db.checkpoint().expect("a good disk");
    let tx = db.begin().expect("open");
    let check = |lend: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>, own: &mut dyn Iterator<Item = Result<Entry>>| {
        let own = own.map(|entry| entry.expect("readable")).map(|entry| (entry.key.to_vec(), entry.value.to_vec()));
        assert!(lend.eq(own));
    };
    for round in 0..2 {
        let (mut up, mut down) = (tx.iter(&ks).expect("readable"), tx.iter(&ks).expect("readable"));
        let copy = |entry: duramen::EntryRef<'_>| (entry.key.to_vec(), entry.value.to_vec());
        check(
            &mut std::iter::from_fn(|| up.next_ref().expect("readable").map(copy)),
            &mut tx.iter(&ks).expect("readable"),
        );
        let mut back = tx.iter(&ks).expect("readable").rev();
        check(&mut std::iter::from_fn(|| down.next_back_ref().expect("readable").map(copy)), &mut back);
        assert!(up.next_ref().expect("still").is_none() && up.next().is_none(), "it stays at the end, round {round}");
        // The second time with own writes over what is there.
        put_words(&tx, &ks, "000=own 0015=own 399=own 4=own").expect("room");
        tx.delete(&ks, "200").expect("room");
        tx.delete_range(&ks, "300", "350").expect("room");
    }
    let mut iter = tx.range(&ks, "001".."004").expect("readable");
    assert_eq!(iter.next_ref().expect("readable").expect("001").key, b"001");
    assert_eq!(iter.next_back_ref().expect("readable").expect("003").key, b"003");
    assert_eq!(text(iter.next().map(|entry| entry.expect("readable").key)).as_deref(), Some("0015"));
    assert_eq!(iter.next_back_ref().expect("readable").expect("002").value, b"vv");
    assert!(iter.next_ref().expect("readable").is_none() && iter.next_back_ref().expect("readable").is_none());
}

fn ranges_of_every_kind_hold(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| {
        [&b"a"[..], b"b", b"c", b"c\0", b"c\xff", b"d", b"\xff", b"\xff\xff"]
            .iter()
            .try_for_each(|key| tx.put(&ks, key, ""))
    })
    .expect("a commit");
    let snapshot = db.snapshot().expect("open");
    let count =
        |iter: Result<duramen::Iter>| iter.expect("readable").collect::<Result<Vec<_>>>().expect("readable").len();
    assert_eq!(count(snapshot.range::<&str>(&ks, ..)), 8);
    assert_eq!(count(snapshot.range(&ks, "b"..)), 7);
    assert_eq!(count(snapshot.range(&ks, .."c")), 2);
    assert_eq!(count(snapshot.range(&ks, ..="c")), 3);
    assert_eq!(count(snapshot.range(&ks, "b"..="c")), 2);
    assert_eq!(count(snapshot.range::<&str>(&ks, (Bound::Excluded("b"), Bound::Excluded("d")))), 3);
    assert_eq!(count(snapshot.range::<&str>(&ks, (Bound::Excluded("c"), Bound::Included("d")))), 3);
    assert_eq!(count(snapshot.range(&ks, "d".."b")), 0, "crossed");
    assert_eq!(count(snapshot.range(&ks, "b".."b")), 0);
    assert_eq!(count(snapshot.range(&ks, "b"..="b")), 1);
    assert_eq!(count(snapshot.prefix(&ks, "c")), 3);
    assert_eq!(count(snapshot.prefix(&ks, b"\xff")), 2);
    assert_eq!(count(snapshot.prefix(&ks, "")), 8);
    assert_eq!(count(snapshot.prefix(&ks, "zz")), 0);
}

fn one_can_write_while_iterating(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| (0..100).try_for_each(|i| tx.put(&ks, format!("{i:03}"), "old"))).expect("a commit");
    let tx = db.begin().expect("open");
    for (i, entry) in tx.iter(&ks).expect("readable").enumerate() {
        let key = entry.expect("readable").key;
        assert_eq!(&*key, format!("{i:03}").as_bytes(), "what is written meanwhile is not seen");
        tx.put(&ks, [&*key, b"+"].concat(), "new").expect("room");
        if i % 2 == 0 {
            tx.delete(&ks, &key).expect("room");
        }
        if i == 50 {
            tx.delete_range(&ks, "060", "080").expect("room");
        }
    }
    // 100 added, 50 deleted. The range held 20 old keys, of which the loop deleted 10 itself, and put new ones after it.
    assert_eq!(tx.iter(&ks).expect("readable").count(), 100 + 50 - 10);
    tx.commit().expect("nobody else wrote");
    assert_eq!(db.snapshot().expect("open").iter(&ks).expect("readable").count(), 140);
}

fn an_iterator_outlives_what_it_came_from(kind: BackendKind) {
    let (db, ks) = database(kind);
    db.update(|tx| (0..500).try_for_each(|i| tx.put(&ks, format!("{i:03}"), "v".repeat(30)))).expect("a commit");
    let tx = db.begin().expect("open");
    tx.put(&ks, "own", "1").expect("room");
    let mut own = tx.iter(&ks).expect("readable");
    let mut shared = db.snapshot().expect("open").iter(&ks).expect("readable");
    assert!(own.next().is_some() && shared.next_back().is_some());
    tx.rollback();
    for i in 0..50 {
        db.update(|tx| tx.delete_range(&ks, format!("{:03}", i * 10), format!("{:03}", i * 10 + 9))).expect("a commit");
    }
    db.checkpoint().expect("a good disk");
    assert_eq!(own.count(), 500, "499 old ones and its own");
    let rest = std::thread::spawn(move || shared.count()).join().expect("an iterator is Send");
    assert_eq!(rest, 499);
}

fn a_snapshot_never_changes(kind: BackendKind) {
    let (db, ks) = database(kind);
    put_all(&db, &ks, "a=1 b=1");
    let first = db.snapshot().expect("open");
    let copy = first.clone();
    assert_eq!(first.ts(), copy.ts());
    for round in 0..200 {
        db.update(|tx| {
            tx.put(&ks, "a", round.to_string().repeat(20))?;
            tx.put(&ks, format!("c{}", round % 10), "new")?;
            tx.delete(&ks, "b")
        })
        .expect("a commit");
        if round % 50 == 0 {
            db.checkpoint().expect("a good disk");
        }
        assert_eq!(words(first.iter(&ks).expect("readable")), "a=1 b=1");
    }
    drop(first);
    let seen = std::thread::spawn({
        let ks = ks.clone();
        move || words(copy.iter(&ks).expect("readable"))
    });
    assert_eq!(seen.join().expect("a snapshot is Send"), "a=1 b=1");
    assert!(db.stats().snapshots == 0 && db.stats().oldest_snapshot.is_none());
}

fn a_value_outlives_the_database(kind: BackendKind) {
    let (db, ks) = database(kind);
    let long = vec![7; 50_000];
    db.update(|tx| tx.put(&ks, "long", &long)).expect("a commit");
    db.checkpoint().expect("a good disk");
    let value: Value = db.snapshot().expect("open").get(&ks, "long").expect("readable").expect("there");
    let entry = db.snapshot().expect("open").first(&ks).expect("readable").expect("there");
    db.close().expect("a good disk");
    drop(ks);
    assert!(*value == *long && *entry.value == *long && *value.detach() == *long);
}

fn a_transaction_reads_one_moment(kind: BackendKind) {
    let (db, ks) = database(kind);
    put_all(&db, &ks, "a=1 b=1");
    let tx = db.begin().expect("open");
    put_all(&db, &ks, "a=2");
    assert_eq!(
        text(tx.get(&ks, "a").expect("readable")).as_deref(),
        Some("2"),
        "the snapshot is taken at the first read"
    );
    put_all(&db, &ks, "a=3 b=3");
    assert_eq!(words(tx.iter(&ks).expect("readable")), "a=2 b=1", "and never moves");
    let pinned = db.begin().expect("open");
    let ts = pinned.pin_snapshot().expect("alive");
    put_all(&db, &ks, "a=4");
    assert_eq!(pinned.pin_snapshot().expect("alive"), ts);
    assert_eq!(words(pinned.iter(&ks).expect("readable")), "a=3 b=3");
}

on_each_kind!(
    every_form_of_get_reads_the_same,
    a_transaction_reads_its_own_writes,
    own_range_deletes_hide_and_later_puts_show,
    an_iterator_meets_itself_in_the_middle,
    a_lent_entry_is_the_one_that_the_iterator_gives,
    ranges_of_every_kind_hold,
    one_can_write_while_iterating,
    an_iterator_outlives_what_it_came_from,
    a_snapshot_never_changes,
    a_value_outlives_the_database,
    a_transaction_reads_one_moment,
);
