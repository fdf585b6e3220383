//! Refusing to share mark bits with the host's own rules.

use sekimori_ebpf::mark;

use super::{
    fault::Fault,
    keeper::{Keeper, report},
};
use crate::{
    cli::text::{self, Lang},
    dataplane::markbits,
};

pub use crate::dataplane::markbits::Conflict;

/// Which bits this instance uses.
#[derive(Debug, Clone)]
pub struct Marks {
    /// The lowest.
    pub shift: u32,
    /// The nftables table that is its own.
    pub table: String,
}

impl Marks {
    /// Who uses some of them, if anybody does.
    ///
    /// # Errors
    /// The host's rules cannot be read.
    pub fn conflict(&self) -> Result<Option<Conflict>, String> {
        let uses = markbits::scan(&self.table).map_err(|error| report(&error))?;
        Ok(markbits::conflict(&uses, self.shift))
    }
}

impl Conflict {
    /// For people: the rules, and what to do.
    pub fn text(&self, lang: Lang) -> String {
        let rules: Vec<String> = self.rules.iter().map(|one| format!("{} ({:#010x})", one.rule, one.bits)).collect();
        let what = match self.free {
            Some(shift) => text::marks_free(lang, shift),
            None => text::marks_none_free(lang, mark::BITS),
        };
        text::marks_taken(lang, format_args!("{:#010x}", self.ours), rules.join(", "), what)
    }
}

impl Keeper {
    /// Which bits this instance uses.
    pub(super) fn marks(&self) -> Marks {
        Marks { shift: self.config.mark_shift, table: self.options().guard_table() }
    }

    /// Before a revision that was in force is put in force again. A conflict is a fault here and no reason to stay
    /// away: after a reboot the gate would stand open, which is worse than anything a mixed-up mark does.
    pub(super) fn look_at_marks(&mut self) {
        if !self.agent_running {
            return;
        }
        match tokio::task::block_in_place(|| self.marks().conflict()) {
            Ok(Some(conflict)) => self.faults.raise(Fault::Marks(conflict)),
            Ok(None) => self.faults.clear(&Fault::Marks(Conflict::default())),
            Err(why) => self.faults.raise(Fault::State("mark bits", why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::markbits::Use;

    #[test]
    fn a_conflict_names_the_rule_and_what_to_do() {
        let uses = [Use { rule: "nft ip host c handle 7 (VPN)".into(), bits: 0xff00 }];
        let conflict =
            markbits::conflict(&uses, 0).map(|conflict| [Lang::En, Lang::Ja].map(|lang| conflict.text(lang)));
        let [en, ja] = conflict.unwrap_or_default();
        for part in ["0x007fffff", "nft ip host c handle 7 (VPN) (0x0000ff00)"] {
            assert!(en.contains(part) && ja.contains(part), "{en}\n{ja}");
        }
        assert!(
            en.contains("No mark_shift is free") && ja.contains("空いている mark_shift がありません"),
            "{en}\n{ja}"
        );
        let free = markbits::conflict(&[Use { bits: 1, ..uses[0].clone() }], 0).map(|one| one.text(Lang::En));
        assert!(free.unwrap_or_default().contains("`mark_shift: 1`"));
    }
}
