//! Values: each form gives its bytes, and keeps alive what it should.

use super::*;
use crate::arena::Counted;
use crate::ids::Timestamp;
use crate::image::{Body, ImageBuilder, ImageKind, ImageSpec, Lookup};

/// A page with one value, and where that lies.
fn page(value: &[u8]) -> (Counted<Image>, usize) {
    let spec = ImageSpec { kind: ImageKind::Leaf, self_id: 1, ks_id: 1, level: 0, right_pid: 0, low: b"", high: b"" };
    let mut builder = ImageBuilder::new(&spec);
    builder.push(b"key", Timestamp::new(1), Body::Value(value));
    let image = Counted::new(builder.finish());
    let Lookup::Value { range, .. } = image.lookup(b"key", Timestamp::MAX) else { panic!("it is there") };
    (image, range.start)
}

#[test]
fn every_length_keeps_its_bytes_in_every_form() {
    for len in 0..100 {
        let bytes: Vec<u8> = (0..len as u8).collect();
        let (image, start) = page(&bytes);
        let copied = Value::from(&bytes[..]);
        let counted = Value::from_image(&image, start, len);
        assert_eq!(*copied, *bytes);
        assert_eq!(Value::from(bytes.clone()), copied);
        assert_eq!(Value::from(bytes.clone()).detach(), copied);
        assert_eq!(counted, copied);
        assert_eq!(counted.clone().detach(), copied);
        assert_eq!(copied.clone().detach(), copied);
        assert_eq!(counted.as_ref(), &bytes[..]);
    }
}

#[test]
fn up_to_22_bytes_lie_inside() {
    for len in [0, 1, INLINE_BYTES_MAX] {
        let (image, start) = page(&[7; INLINE_BYTES_MAX]);
        assert_eq!(Value::from(&[7; INLINE_BYTES_MAX][..len]).heap_bytes(), 0);
        let value = Value::from_image(&image, start, len);
        assert_eq!((value.len(), Counted::handles(&image)), (len, 1), "the page is not counted");
    }
}

#[test]
fn a_larger_value_counts_its_page_until_detached() {
    let (image, start) = page(&[7; 1000]);
    let value = Value::from_image(&image, start, 1000);
    let clone = value.clone();
    assert_eq!((Counted::handles(&image), value.heap_bytes()), (3, 0));
    let detached = value.detach();
    assert_eq!(Counted::handles(&image), 2);
    assert!(detached.heap_bytes() >= 1000);
    drop(image);
    assert_eq!(clone, detached, "the page lives as long as a value in it");
}

#[test]
fn a_list_of_bytes_is_taken_over_unless_it_is_short() {
    let (short, long) = (vec![7; INLINE_BYTES_MAX], vec![7; 500]);
    let at = long.as_ptr();
    let value = Value::from(long);
    assert_eq!((value.as_ptr(), value.clone().as_ptr()), (at, at));
    assert!(value.heap_bytes() >= 500);
    assert_eq!(Value::from(short).heap_bytes(), 0);
}

#[test]
fn clones_of_a_shared_value_share_its_bytes() {
    let value = Value::from(&[1; 500][..]);
    let clone = value.clone();
    assert_eq!(value.as_ptr(), clone.as_ptr());
    assert_eq!(value.as_ptr(), clone.detach().as_ptr(), "there is nothing to detach from");
}

#[test]
fn values_compare_by_their_bytes_and_show_them() {
    let value = Value::from(&b"oak\n"[..]);
    assert_eq!(value, b"oak\n"[..]);
    assert_eq!(value, &b"oak\n"[..]);
    assert_ne!(value, b"elm"[..]);
    assert_eq!(format!("{value:?}"), "\"oak\\n\"");
}

#[test]
#[should_panic]
fn a_range_outside_the_page_is_refused() {
    let (image, _) = page(b"x");
    let _ = Value::from_image(&image, image.bytes().len() - 5, 30);
}
