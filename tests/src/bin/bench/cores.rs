//! Two cores against one: what a packet costs when another core works beside.

use anyhow::Result;

use crate::{
    figure::Figure,
    gateway::{Gateway, LAN, WAN},
    lists::{List, Place},
    opening,
    options::Options,
    ruler::Ruler,
    subject::{Nft, NftHook, Plain, Policy, Sekimori, Subject},
    traffic::{FAR, TEN_K},
};

/// ns a packet on one core, and on each of two at once; the least of some turns.
pub(crate) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let (rounds, samples, count) = options.effort();
    let mut ruler = Ruler::load()?;
    if ruler.cpu == 0 {
        let none = Figure::new("cores", "all", "two cores against one", None, "");
        return Ok(vec![none.note("skipped: this machine has one CPU")]);
    }
    let list = List::new(1_000, false, options.seed);
    for place in [Place::Listed, Place::Far] {
        ruler.peers(place, &list.peers(place, false, options.seed)?)?;
    }
    let gateway = |ruler: &mut Ruler, number| -> Result<Gateway> {
        let gateway = Gateway::new(&ruler.ns, "cores", number)?;
        // A receive queue a core, as a real interface has.
        for interface in [LAN, WAN] {
            gateway.command("ethtool", &["-L", interface, "rx", "2", "tx", "2"])?;
        }
        gateway.queues(&ruler.ns)?;
        ruler.listen(&gateway)?;
        Ok(gateway)
    };
    let mut subjects: Vec<Box<dyn Subject>> = vec![
        Box::new(Plain(gateway(&mut ruler, 0)?)),
        Box::new(Nft::new(gateway(&mut ruler, 1)?, NftHook::Conntrack)?),
        Box::new(Sekimori::new(gateway(&mut ruler, 2)?, Policy::Listed, 10_000)?),
    ];
    for subject in &mut subjects {
        subject.load(&list, &mut ruler)?;
        opening::open(&mut ruler, subject.as_ref(), TEN_K)?;
    }
    let mut figures = Vec::new();
    for kind in [TEN_K, FAR] {
        for subject in &subjects {
            let plan = kind.plan(subject.gateway())?;
            let (mut one, mut two) = (u64::MAX, u64::MAX);
            for _ in 0..rounds * samples {
                one = one.min(ruler.send_on(&[1], &plan, count)?.into_iter().max().unwrap_or(u64::MAX));
                two = two.min(ruler.send_on(&[0, 1], &plan, count)?.into_iter().max().unwrap_or(u64::MAX));
            }
            let name = subject.name();
            figures.push(Figure::new("cores", name, format!("{}: one core", kind.name), one as f64, "ns"));
            figures.push(
                Figure::new("cores", name, format!("{}: each of two cores", kind.name), two as f64, "ns")
                    .note(format!("{:.2} of one core", two as f64 / one as f64)),
            );
        }
    }
    Ok(figures)
}
