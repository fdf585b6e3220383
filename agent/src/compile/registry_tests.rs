#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;

fn assign(registry: &mut Registry, kind: Kind, names: &[&str]) -> Result<Vec<u32>, Exhausted> {
    registry.begin();
    registry.assign(kind, names.iter().copied())
}

#[test]
fn names_keep_their_numbers_when_the_order_changes() {
    let mut registry = Registry::default();
    assert_eq!(assign(&mut registry, Kind::Net, &["office", "internet"]).unwrap(), [1, 2]);
    assert_eq!(assign(&mut registry, Kind::Net, &["dmz", "internet", "office"]).unwrap(), [3, 2, 1]);
}

#[test]
fn a_rule_that_comes_back_finds_its_slot() {
    let mut registry = Registry::default();
    assign(&mut registry, Kind::Rule, &["web", "mail"]).unwrap();
    for _ in 0..5 {
        assign(&mut registry, Kind::Rule, &["web", "new"]).unwrap();
    }
    assert_eq!(assign(&mut registry, Kind::Rule, &["mail"]).unwrap(), [1]);
    assert_eq!(registry.id(Kind::Rule, "new"), Some(2));
    assert_eq!(registry.recycled(), []);
}

#[test]
fn the_longest_retired_goes_first_and_the_previous_revision_is_safe() {
    let mut registry = Registry::default();
    let all: Vec<String> = (0..NET_LAST).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    assign(&mut registry, Kind::Net, &names).unwrap();
    assign(&mut registry, Kind::Net, &names[2..]).unwrap();
    // Revision 3: n0 and n1 were not in revision 2, but n2 was.
    let mut third = names[3..].to_vec();
    third.push("x");
    assign(&mut registry, Kind::Net, &third).unwrap();
    assert_eq!(registry.id(Kind::Net, "n0"), None);
    assert_eq!(registry.id(Kind::Net, "x"), Some(1));
    let old = registry.recycled().to_vec();
    assert_eq!(old, [Recycled { kind: Kind::Net, id: 1, old: "n0".into(), new: "x".into() }]);
    // Revision 4: n1 is free; n2, gone since revision 3 only, was used in 2 and is free after n1.
    let mut fourth = third.clone();
    fourth.extend(["y", "z"]);
    assign(&mut registry, Kind::Net, &fourth).unwrap();
    assert_eq!(registry.id(Kind::Net, "y"), Some(2));
    assert_eq!(registry.id(Kind::Net, "z"), Some(3));
}

#[test]
fn exhaustion_names_the_one_that_got_nothing() {
    let mut registry = Registry::default();
    let all: Vec<String> = (0..NET_LAST).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    assign(&mut registry, Kind::Net, &names).unwrap();
    let mut next = names[1..].to_vec();
    next.push("late");
    let error = assign(&mut registry, Kind::Net, &next).unwrap_err();
    assert_eq!(error, Exhausted { kind: Kind::Net, name: "late".into() });
}

#[test]
fn saved_and_loaded_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.json");
    assert_eq!(Registry::load(&path).unwrap(), Registry::default());
    let mut registry = Registry::default();
    assign(&mut registry, Kind::Interface, &["lan0", "wan0"]).unwrap();
    registry.save(&path).unwrap();
    assert_eq!(Registry::load(&path).unwrap(), registry);
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(files, ["registry.json"]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.json");
    let mut registry = Registry::default();
    assign(&mut registry, Kind::Net, &["a", "b"]).unwrap();
    let text = serde_json::to_string(&registry).unwrap();
    let broken = [
        (text.replace("\"version\":1", "\"version\":2"), "format 2"),
        (text.replace("\"id\":2", "\"id\":1"), "share number 1"),
        (text.replace("\"id\":2", "\"id\":251"), "251"),
        (text.replace("\"used\":1", "\"used\":9"), "yet to come"),
        (text.replace("\"revision\"", "\"revisions\""), "not a registry"),
        (text[..20].to_owned(), "not a registry"),
        (String::new(), "not a registry"),
    ];
    for (text, expected) in broken {
        fs::write(&path, &text).unwrap();
        let error = match Registry::load(&path) {
            Ok(_) => panic!("accepted {text}"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expected), "{error}");
    }
}
