//! What bodies and their families take.

use super::*;

fn body_of(text: &str, interner: &Interner) -> Body {
    build(text.as_bytes(), &Labels::new(), interner).body
}

/// Names that nobody else has.
fn names(prefix: &str, number: usize) -> String {
    let lines: Vec<_> = (0..number).map(|n| format!("{prefix}_{n} 1\n")).collect();
    lines.concat()
}

#[test]
fn families_that_bodies_have_alike_are_kept_once() {
    let interner = Interner::default();
    let texts: Vec<String> =
        (0..100).map(|i| CAPTURES[2].1.replace("mytask-42-abc", &format!("mytask-42-{i}"))).collect();
    let bodies: Vec<_> = texts.iter().map(|text| body_of(text, &interner)).collect();
    assert!(bodies.iter().all(|body| body.bytes() < 6 * 1024), "{}", bodies[99].bytes());
    assert_eq!(interner.len(), bodies[0].families());
    // About the text of one.
    assert!(interner.bytes() < 2 * CAPTURES[2].1.len(), "{}", interner.bytes());
    assert_eq!(bodies.iter().map(Body::alone_bytes).sum::<usize>(), 0);
}

#[test]
fn what_a_body_takes_does_not_depend_on_who_came_first() {
    let interner = Interner::default();
    let first = body_of(CAPTURES[0].1, &interner);
    let families = interner.bytes();
    let second = body_of(CAPTURES[0].1, &interner);
    assert_eq!((first.bytes(), interner.bytes()), (second.bytes(), families));
    // A second pull, with the first body gone before or after.
    drop(first);
    assert_eq!((second.alone_bytes(), interner.bytes()), (families, families));
    let third = body_of(CAPTURES[0].1, &interner);
    assert_eq!((third.alone_bytes(), second.alone_bytes()), (0, 0));
}

#[test]
fn a_sweep_gives_back_what_a_body_had_alone() {
    let interner = Interner::default();
    let kept = body_of(CAPTURES[1].1, &interner);
    let before = (interner.len(), interner.bytes());
    let odd = body_of(&format!("{}{}", CAPTURES[1].1, names("odd", 1000)), &interner);
    assert_eq!(odd.families(), kept.families() + 1000);
    assert_eq!((before.1 + odd.alone_bytes(), kept.alone_bytes()), (interner.bytes(), 0));
    drop(odd);
    interner.sweep();
    assert_eq!((interner.len(), interner.bytes()), before);
    assert_eq!(kept.alone_bytes(), interner.bytes());
    drop(kept);
    interner.sweep();
    assert_eq!((interner.len(), interner.bytes(), interner.is_empty()), (0, 0, true));
}

#[test]
fn names_that_come_and_go_do_not_pile_up() {
    let interner = Interner::default();
    for round in 0..20 {
        let body = body_of(&names(&format!("of_{round}"), 2000), &interner);
        assert!(interner.bytes() >= body.alone_bytes() && body.alone_bytes() > 2000 * 64);
        // The body before may be there yet.
        assert!(interner.len() <= 2 * 2000 + 16 * 256, "{}", interner.len());
    }
    interner.sweep();
    assert_eq!((interner.len(), interner.bytes()), (0, 0));
}

#[test]
fn a_part_of_a_body_takes_as_much_as_it_has() {
    let interner = Interner::default();
    let older = body_of("a 1\nb{x=\"1\"} 1\nb{x=\"2\"} 1\n", &interner);
    let left = older.without(&body_of("a 2\n", &interner));
    assert_eq!((left.families(), left.series()), (1, 2));
    assert_eq!(older.bytes() - left.bytes(), size_of::<f64>() + size_of::<(usize, u32)>());
    assert_eq!(left.alone_bytes(), 0, "the older body is there yet");
    drop(older);
    interner.sweep();
    assert_eq!((interner.len(), left.alone_bytes()), (1, interner.bytes()));
}
