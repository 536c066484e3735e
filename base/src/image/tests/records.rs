//! One record at a time: the short way to read it and the total one agree, and keys rewritten in place are whole keys.

use super::super::record;
use super::*;

#[test]
fn the_short_way_reads_what_the_total_one_reads() {
    let distances =
        [0, 1, 63, 64, 8_191, 8_192, 1 << 19, 1 << 20, (1 << 27) - 1, 1 << 27, 1 << 28, 1 << 40, u64::MAX >> 2];
    let all_ts = distances.iter().flat_map(|distance| [1_000 + distance, 1_000u64.saturating_sub(*distance)]);
    let mut records = 0;
    for at in all_ts.map(ts) {
        for suffix in [0, 1, 7, 127, 128, 300].map(|len| vec![7; len]) {
            for value in [0, 1, 15, 16, 255, 256, 2_047, 2_048, 5_000].map(|len| vec![9; len]) {
                for body in [Body::Value(&value), Body::Tombstone] {
                    if at == Timestamp::ZERO && body == Body::Tombstone {
                        continue;
                    }
                    // At the end of the image, and with others behind it.
                    for behind in [0, 4, 40] {
                        let mut image = vec![0; 8];
                        record::put(&mut image, &suffix, at, body, 1_000);
                        image.resize(image.len() + behind, 0);
                        let parsed = record::parse(&image, 8, 1_000).expect("what was just put");
                        let read = record::read(&image, 8, 1_000).expect("what was just put");
                        assert_eq!(format!("{read:?}"), format!("{parsed:?}"));
                        assert_eq!(
                            (parsed.ts, parsed.suffix.len(), &image[parsed.suffix]),
                            (at, suffix.len(), &suffix[..])
                        );
                        records += 1;
                    }
                }
            }
        }
    }
    assert!(records > 6_000);
}

#[test]
fn a_key_is_rewritten_from_its_prefix_on() {
    let high = [&b"common"[..], &[255; 40]].concat();
    let mut builder = ImageBuilder::new(&leaf(b"common", &high));
    let suffixes: Vec<Vec<u8>> = (0..200u8).map(|i| [&[i][..], &vec![i; usize::from(i) % 40]].concat()).collect();
    let keys: Vec<Vec<u8>> = suffixes.iter().map(|suffix| [&b"common"[..], suffix].concat()).collect();
    keys.iter().for_each(|key| builder.push(key, ts(1), Body::Value(key)));
    let image = builder.finish();
    let mut key = KeyBuffer::default();
    // Both ways and by leaps, so that shorter keys follow longer ones.
    for index in (0..200).chain((0..200).rev()).chain((0..200).map(|i| i * 37 % 200)) {
        if key.is_empty() || index % 50 == 0 {
            image.set_key(index, &mut key);
        } else {
            image.change_key(image.locate(index), &mut key);
        }
        assert_eq!(*key, *keys[index]);
        assert_eq!(image.value_at(image.locate(index)), &*keys[index]);
    }
    key.set(&[3; 300]);
    assert_eq!(*key, [3; 300]);
}
