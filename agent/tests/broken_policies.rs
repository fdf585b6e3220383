//! Placeholder
#[test]
fn full() {
    let loaded = sekimori::policy::load(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/full")));
    for d in &loaded.diagnostics {
        println!("{d}");
    }
    assert!(loaded.policy.is_some());
}
