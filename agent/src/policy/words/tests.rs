#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;

use jiff::tz::TimeZone;

use super::{
    super::{decode::Leaf, model::Mac},
    *,
};

fn code<T: Leaf>(text: &str) -> &'static str {
    T::parse(text, true).err().map_or("fine", |wrong| wrong.problem.code())
}
fn suggestion<T: Leaf>(text: &str) -> Option<String> {
    T::parse(text, true).err().unwrap().suggestion
}

#[test]
fn names() {
    assert_eq!(code::<Ident>("pc-017"), "fine");
    for wrong in ["", "-a", "A", "庁内", "a b", "a.b"] {
        assert_eq!(code::<Ident>(wrong), "E021", "{wrong}");
    }
    assert_eq!(code::<Ident>(&"a".repeat(64)), "E021");
    assert_eq!(suggestion::<Ident>("Office LAN"), Some("office-lan".into()));
    assert_eq!(code::<Ident>("box"), "E022");
}

#[test]
fn macs() {
    assert_eq!(Mac::parse("02-00-00-00-10-fE", true).unwrap(), Mac([2, 0, 0, 0, 0x10, 0xfe]));
    assert_eq!(code::<Mac>("01:00:5e:00:00:01"), "E031");
    assert_eq!(code::<Mac>("00:00:00:00:00:00"), "E031");
    for wrong in ["02:00:00:00:10", "02:00:00:00:10:1", "02:00:00:00:10:+1", "02:00:00:00:10:17:00"] {
        assert_eq!(code::<Mac>(wrong), "E016", "{wrong}");
    }
}

#[test]
fn prefixes_say_how_they_should_read() {
    assert_eq!(suggestion::<Prefix>("192.168.10.5/24"), Some("192.168.10.0/24".into()));
    assert_eq!(suggestion::<Prefix>("2001:db8::1/64"), Some("2001:db8::/64".into()));
    assert_eq!(suggestion::<Prefix>("192.168.10.5"), Some("192.168.10.5/32".into()));
    assert_eq!(code::<Prefix>("0.0.0.0/0"), "E038");
    assert_eq!(code::<Prefix>("192.168.10.0/33"), "E016");
    assert_eq!(code::<Prefix>("default"), "E045");
}

#[test]
fn ranges_become_exactly_the_prefixes_they_cover() {
    let nets = addresses("198.51.100.1-198.51.100.20").unwrap();
    for last in 0..=255u8 {
        let host = IpAddr::from([198, 51, 100, last]);
        let covered = nets.iter().filter(|net| net.contains(&host)).count();
        assert_eq!(covered, usize::from((1..=20).contains(&last)), "{host}");
    }
    assert_eq!(addresses("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").unwrap().len(), 1);
    assert_eq!(code::<Addresses>("198.51.100.20-198.51.100.1"), "E032");
    assert_eq!(code::<Addresses>("198.51.100.1-2001:db8::1"), "E033");
}

#[test]
fn clocks_days_and_vlans() {
    assert_eq!(Clock::parse("24:00", false).unwrap(), Clock(1440));
    assert_eq!(Clock::parse("8:05", false).unwrap(), Clock(485));
    for wrong in ["24:01", "25:00", "8:5", "08:60", "0830", "-1:00"] {
        assert_eq!(code::<Clock>(wrong), "E016", "{wrong}");
    }
    assert_eq!(Days::parse("fri-mon", true).unwrap().0, [4, 5, 6, 0]);
    assert_eq!(Days::parse("sun", true).unwrap().0, [6]);
    assert_eq!(code::<Days>("monday"), "E016");
    assert_eq!(Vlan::parse("100.20", false).unwrap(), Vlan { outer: 100, inner: 20 });
    assert_eq!(Vlan::parse("0", true).unwrap(), Vlan { outer: 0, inner: 0 });
    for wrong in ["4095", "0.5", "5.0", "1.2.3", "+1", ""] {
        assert_eq!(code::<Vlan>(wrong), "E016", "{wrong}");
    }
}

#[test]
fn moments() {
    assert!(matches!(Until::parse("2027-03-31", true).unwrap().0, Moment::Day(_)));
    assert!(matches!(Until::parse("2027-03-31T17:15:00+09:00", true).unwrap().0, Moment::Instant(_)));
    for wrong in ["2027-03-31T17:15", "2027-02-30", "20270331", "tomorrow"] {
        assert_eq!(code::<Until>(wrong), "E016", "{wrong}");
    }
    assert!(matches!(TestTime::parse("2026-12-01T10:00", true).unwrap().0, Moment::Local(_)));
    assert_eq!(code::<TestTime>("2026-12-01"), "E016");
    assert_eq!(suggestion::<TimeZone>("Asia/Tokio"), Some("Asia/Tokyo".into()));
}

#[test]
fn booleans_are_two_words_only() {
    assert!(bool::parse("true", true).unwrap());
    assert_eq!(code::<bool>("yes"), "E016");
    assert_eq!(suggestion::<bool>("yes"), Some("true".into()));
    assert!(bool::parse("true", false).is_err());
}
