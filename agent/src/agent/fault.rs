//! What went wrong and was not repaired: kept until it is, shown by `status` in the reader's language.

use super::marks::Conflict;
use crate::cli::text::{self, Lang};

/// One fault; a newer one of the same kind replaces the older.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The cut-off state was unreadable: everything is cut.
    CutUnreadable {
        /// Where it is kept; `None`: it is gone.
        aside: Option<String>,
        /// Why.
        why: String,
    },
    /// The cut-off state could not be written.
    CutNotKept(String),
    /// Who is in quarantine could not be written.
    QuarantineNotKept(String),
    /// Who is in quarantine could not be read.
    QuarantineUnread(String),
    /// The record has trouble.
    Record(String),
    /// The record is not whole: at these lines.
    RecordDamaged(String),
    /// A torn line was found at the start.
    TornLine(u64),
    /// The saved revision could not be put in force.
    Revision(u64, String),
    /// The first policy could not be applied.
    FirstPolicy(String),
    /// Attaching failed.
    Attach(String),
    /// Schedules are not refreshed.
    Schedules(String),
    /// The host's own rules use mark bits that carry our verdicts.
    Marks(Conflict),
    /// Names in `fast_path_except` that nobody has.
    FastExcept(String),
    /// Planned cut-offs could not be read.
    PlansUnread(String),
    /// Planned cut-offs could not be written.
    PlansNotKept(String),
    /// Planned cut-offs were missed: their numbers.
    PlansMissed(String),
    /// Planned cut-offs cannot be carried out: which, and why.
    PlansFailing(String),
    /// A planned cut-off was carried out and could not be proven: its number.
    PlanUnproven(String),
    /// Who may come by the network could not be read.
    TokensUnread(String),
    /// The HTTP API is configured and not served.
    Http(String),
    /// Incidents on disk could not be read.
    Incidents(String),
    /// An incident or its packets could not be written.
    IncidentsNotKept(String),
    /// Flow records are not kept.
    FlowRecords(String),
    /// Something of the state folder or the maps: which, and why.
    State(&'static str, String),
}

impl Fault {
    /// For people.
    pub fn text(&self, lang: Lang) -> String {
        match self {
            Self::CutUnreadable { aside: Some(aside), why } => text::fault_cut_unreadable(lang, aside, why),
            Self::CutUnreadable { aside: None, why } => text::fault_cut_gone(lang, why),
            Self::CutNotKept(why) => text::cut_not_kept(lang, why),
            Self::QuarantineNotKept(why) => text::quarantine_not_kept(lang, why),
            Self::QuarantineUnread(why) => text::quarantine_unread(lang, why),
            Self::Record(why) => text::fault_record(lang, why),
            Self::RecordDamaged(lines) => text::fault_record_damaged(lang, lines),
            Self::TornLine(line) => text::fault_torn(lang, line),
            Self::Revision(number, why) => text::fault_revision(lang, number, why),
            Self::FirstPolicy(why) => text::fault_first_policy(lang, why),
            Self::Attach(why) => text::fault_attach(lang, why),
            Self::Schedules(why) => text::fault_schedules(lang, why),
            Self::Marks(conflict) => conflict.text(lang),
            Self::FastExcept(names) => text::fault_fast_except(lang, names),
            Self::PlansUnread(why) => text::plans_unread(lang, why),
            Self::PlansNotKept(why) => text::plans_not_kept(lang, why),
            Self::PlansMissed(numbers) => text::fault_plans_missed(lang, numbers),
            Self::PlansFailing(plans) => text::fault_plans_failing(lang, plans),
            Self::PlanUnproven(number) => text::fault_plan_unproven(lang, number),
            Self::TokensUnread(why) => text::tokens_unread(lang, why),
            Self::Http(why) => text::fault_http(lang, why),
            Self::Incidents(why) => text::fault_incidents(lang, why),
            Self::IncidentsNotKept(why) => text::fault_incidents_not_kept(lang, why),
            Self::FlowRecords(why) => text::fault_flow_records(lang, why),
            Self::State(what, why) => text::failed_at(lang, format_args!("{what}: {why}")),
        }
    }

    /// Faults with the same key are the same trouble.
    fn key(&self) -> (std::mem::Discriminant<Self>, &'static str) {
        let what = if let Self::State(what, _) = self { what } else { "" };
        (std::mem::discriminant(self), what)
    }
}

/// The faults of an instance.
#[derive(Debug, Clone, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds or replaces, and logs.
    pub fn raise(&mut self, fault: Fault) {
        if !self.0.contains(&fault) {
            tracing::error!("{}", fault.text(Lang::En));
        }
        self.clear(&fault);
        self.0.push(fault);
    }

    /// The fault of this kind is gone.
    pub fn clear(&mut self, like: &Fault) {
        self.0.retain(|fault| fault.key() != like.key());
    }

    /// Raises on an error, clears on success.
    pub fn track<T>(&mut self, result: Result<T, String>, fault: impl Fn(String) -> Fault) -> Option<T> {
        match result {
            Ok(value) => {
                self.clear(&fault(String::new()));
                Some(value)
            }
            Err(why) => {
                self.raise(fault(why));
                None
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_clears_only_its_own_trouble() {
        let mut faults = Faults::default();
        faults.track::<()>(Err("full".into()), |why| Fault::State("clock", why));
        faults.track(Ok(()), |why| Fault::State("registry", why));
        faults.track(Ok(()), Fault::Attach);
        assert_eq!(faults.iter().count(), 1);
        faults.track(Ok(()), |why| Fault::State("clock", why));
        assert_eq!(faults.iter().count(), 0);
    }
}
