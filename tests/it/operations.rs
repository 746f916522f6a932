//! The table of operations on items in docs/phases.md, against what the machines do.

use std::collections::BTreeSet;

use crossfade::model::{Edits, Judge, Judged, Key, Looks, Mark, Mutation, Row, Rule, Then, Value};
use crossfade::protocol::row::{
    Call, Concluded, PageLimit, PageReply, ReadTogether, Reply, ScanCall, ScanOrder, ScanReply,
    SeenTogether, TogetherCall, TogetherReply, Walkover, Write, WriteAnswer, WriteTogether,
};
use crossfade::protocol::{Machine, Phase, Step};

const NOW: i64 = 1_000;
const OVER: &str = "brought over, then new";

#[derive(Debug)]
struct Always(Looks);

impl Judge for Always {
    fn text(&self) -> &str {
        "always"
    }

    fn holds(&self, _: Option<&Row>) -> crossfade::Result<bool> {
        Ok(true)
    }

    fn edits(&self, _: Option<&Row>) -> crossfade::Result<Edits> {
        Ok(Edits::default())
    }

    fn looks(&self) -> &Looks {
        &self.0
    }
}

fn key() -> Key {
    Key::row(vec![Value::Int(0)], vec![])
}

fn row(mark: Option<Mark>) -> Row {
    let mut row = Row::new(key(), vec![Some(Value::Int(1))]);
    if mark == Some(Mark::Partial) {
        row.decided = [0].into();
    }
    Row { mark, ..row }
}

/// Where a write on a condition happens, if the new store has this.
fn judged(phase: Phase, item: Option<Row>) -> &'static str {
    let judged = Judged {
        key: key(),
        rule: Rule::new(Always(Looks::Cells(BTreeSet::from([0])))),
        then: Then::Put(row(None)),
    };
    let (mut item, mut reads_old, mut last) = (item, false, "");
    let mut write = Write::judged(phase, judged, NOW);
    let mut step = write.begin();
    loop {
        step = write.step(match step {
            Step::Call(Call::ReadOld(_)) => {
                reads_old = true;
                Reply::Row(Some(row(None)))
            }
            Step::Call(Call::WriteOld(_)) => {
                last = "old";
                Reply::Written
            }
            Step::Call(Call::WriteNew { change, on, key }) if on.holds(item.as_ref()) => {
                item = change.of(&key, 1, item).expect("a lawful change");
                last = "new";
                Reply::Written
            }
            Step::Call(Call::WriteNew { .. }) => Reply::Refused(item.clone()),
            Step::Call(call) => panic!("{call:?}"),
            Step::Done(WriteAnswer::Done) if last == "new" && reads_old => return OVER,
            Step::Done(WriteAnswer::Done) => return last,
            Step::Done(WriteAnswer::Later) => return "later",
            Step::Done(WriteAnswer::Refused) => return "refused",
            Step::Done(outcome) => panic!("{outcome:?}"),
        });
    }
}

struct OneKey;

impl ScanOrder for OneKey {
    fn compare(&self, _: &Key, _: &Key) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// Which tables a scan walks over.
fn scan(phase: Phase) -> String {
    let bound = PageLimit {
        rows: 9,
        bytes: 9_999,
        pages: 9,
    };
    let mut walk = Walkover::new(phase, None, OneKey, bound, NOW, false);
    let mut walked = Vec::new();
    let mut step = walk.begin();
    loop {
        walked.push(match step {
            Step::Call(ScanCall::Old { .. }) => "old",
            Step::Call(ScanCall::New { .. }) => "new",
            Step::Call(call) => panic!("{call:?}"),
            Step::Done(_) if walked.is_empty() => return "refused".into(),
            Step::Done(_) => return walked.join(", then "),
        });
        step = walk.step(ScanReply::Page(PageReply::default()));
    }
}

/// What becomes of a transaction's write of a whole row whose key the new store lacks.
fn transaction(phase: Phase) -> &'static str {
    let put = Write::new(phase, Mutation::Put(row(None)), NOW);
    let mut machine = WriteTogether::new(vec![(phase, put)]);
    let mut step = machine.begin();
    loop {
        step = machine.step(match step {
            Step::Call(TogetherCall::Write(writes)) => match writes[0].3.holds(None) {
                true => TogetherReply::Written,
                false => TogetherReply::Refused(vec![Some(None)]),
            },
            Step::Call(call) => panic!("{call:?}"),
            Step::Done(Concluded::Done) => return "new",
            Step::Done(Concluded::Later) => return "later",
            Step::Done(Concluded::Unsupported | Concluded::Refused) => return "refused",
            Step::Done(concluded) => panic!("{concluded:?}"),
        });
    }
}

/// What becomes of a transaction's read of such a key.
fn read(phase: Phase) -> &'static str {
    let mut machine = ReadTogether::new(vec![(phase, key())], NOW);
    match machine.begin() {
        Step::Call(TogetherCall::Read) => {}
        Step::Call(call) => panic!("{call:?}"),
        Step::Done(_) => return "refused",
    }
    match machine.step(TogetherReply::Rows(vec![None])) {
        Step::Call(TogetherCall::One(0, call)) if matches!(*call, Call::ReadOld(_)) => OVER,
        Step::Done(SeenTogether::Rows(_)) => "new",
        Step::Done(SeenTogether::Later) => "later",
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_table_of_operations_on_items_is_the_machines() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/phases.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    for phase in Phase::ALL {
        let cells = [
            judged(phase, Some(row(Some(Mark::Copied)))).to_owned(),
            judged(phase, Some(row(Some(Mark::Partial)))).to_owned(),
            judged(phase, None).to_owned(),
            scan(phase),
            transaction(phase).to_owned(),
            read(phase).to_owned(),
        ];
        let line = format!("| `{phase}` | {} |", cells.join(" | "));
        assert!(
            page.contains(&line),
            "docs/phases.md lacks the line\n{line}"
        );
    }
}
