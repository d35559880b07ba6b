use std::sync::Arc;

use backplane_core::NodeId;

use super::{Directory, checksum, membership, opening};
use crate::presence::message::Change;

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn opened(connection: &str, user: &str) -> Change {
    let user = Some(user).filter(|user| !user.is_empty()).map(Arc::from);
    Change::Opened { connection: connection.into(), user }
}

fn joined(connection: &str, group: &str) -> Change {
    Change::Joined { connection: connection.into(), group: group.into() }
}

fn left(connection: &str, group: &str) -> Change {
    Change::Left { connection: connection.into(), group: group.into() }
}

fn closed(connection: &str) -> Change {
    Change::Closed { connection: connection.into() }
}

fn after(changes: &[Change]) -> Directory {
    let mut directory = Directory::default();
    changes.iter().for_each(|change| directory.apply(node(1), change));
    directory
}

#[test]
fn sums_are_the_same_everywhere_and_for_ever() {
    assert_eq!(checksum("connection"), 0xbbda_da37_cd6c_4909);
    let changes = [opened("c", "u"), joined("c", "g"), opened("d", "")];
    assert_eq!(after(&changes).sum(node(1)), 0x115b_c7c3_6caa_3b2d);
}

#[test]
fn the_sum_tells_what_is_so_and_not_how_it_came_about() {
    let one = [opened("c", "u"), joined("c", "g"), joined("c", "h"), opened("d", "")];
    let other = [
        opened("d", ""),
        joined("d", "g"),
        opened("c", "somebody else"),
        closed("c"),
        opened("c", "u"),
        joined("c", "h"),
        joined("c", "h"),
        left("d", "g"),
        joined("c", "g"),
    ];
    let sum = after(&one).sum(node(1));
    assert_eq!(after(&other).sum(node(1)), sum);
    let different = [
        vec![opened("c", "u"), joined("c", "g"), joined("c", "h")],
        vec![opened("c", "g"), joined("c", "u"), joined("c", "h"), opened("d", "")],
        vec![opened("c", "u"), joined("c", "g"), opened("d", ""), joined("d", "h")],
        vec![opened("c", ""), joined("c", "g"), joined("c", "h"), opened("d", "")],
    ];
    for changes in different {
        assert_ne!(after(&changes).sum(node(1)), sum, "{changes:?}");
    }
    let (c, d) = (checksum("c"), checksum("d"));
    let expected = [opening(c, "u"), membership(c, "g"), membership(c, "h"), opening(d, "")];
    assert_eq!(sum, expected.into_iter().fold(0, u64::wrapping_add));
}

#[test]
fn nothing_is_left_of_what_is_gone() {
    let mut directory = after(&[opened("c", "u"), joined("c", "g"), joined("c", "h"), closed("c")]);
    assert!(directory.rolls.is_empty());
    assert!(directory.groups.crowds.is_empty() && directory.users.crowds.is_empty());
    directory.apply(node(1), &joined("c", "g"));
    assert_eq!(directory.groups.count("g"), 0, "nobody joins who is not there");
    for number in [1, 2] {
        directory.apply(node(number), &opened("c", "u"));
        directory.apply(node(number), &joined("c", "g"));
    }
    assert_eq!((directory.groups.count("g"), directory.users.count("u")), (2, 2));
    let (present, _) = directory.find(node(2), "c").unwrap();
    assert_eq!(present.node(), node(2));
    directory.clear(node(2));
    let (present, groups) = directory.find(node(2), "c").unwrap();
    assert_eq!((present.node(), groups), (node(1), vec!["g".into()]));
    directory.clear(node(1));
    assert!(directory.rolls.is_empty() && directory.groups.crowds.is_empty());
}

#[test]
fn what_is_described_replaces_anything() {
    let wanted = after(&[opened("c", "u"), joined("c", "g"), opened("d", ""), joined("d", "h")]);
    let described = wanted.described(node(1));
    let befores = [
        vec![],
        vec![opened("c", "v"), joined("c", "g"), opened("e", "u"), joined("e", "g")],
        vec![opened("c", "u"), joined("c", "g"), joined("c", "h"), opened("d", "")],
        described.clone(),
    ];
    for before in befores {
        let mut directory = after(&before);
        directory.replace(node(1), &described);
        assert_eq!(directory.sum(node(1)), wanted.sum(node(1)), "{before:?}");
        for group in ["g", "h"] {
            assert_eq!(directory.groups.count(group), 1, "{group} after {before:?}");
        }
        assert_eq!((directory.users.count("u"), directory.users.count("v")), (1, 0));
        assert!(directory.find(node(1), "e").is_none());
    }
}
