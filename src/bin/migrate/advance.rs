//! `migrate advance`

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crossfade::clock::Clock;
use crossfade::connect;
use crossfade::control::{Awaited, Gone, Participant};
use crossfade::error::Error;
use crossfade::migration::{Event, Migration, MoveOptions, MovePreview, OpenOld, Unkept, too_soon};
use crossfade::protocol::Phase;
use crossfade::protocol::phase::Transition;
use crossfade::visible::visible;

use crate::Exit;
use crate::args;
use crate::consent::Name;
use crate::demand;
use crate::finish::no_way_back;
use crate::format;
use crate::next;
use crate::progress::Screen;
use crate::signal;
use crate::stores::OpenStores;

/// How often it is said again who is waited for, while they stay the same.
const REMIND_EVERY: Duration = Duration::from_secs(10);
/// Of many who are waited for, how many are named each time.
const SHOWN: usize = 3;
/// Of many applications, how many are named once.
const SHOWN_ONCE: usize = 20;

pub async fn run(args: &args::Advance, screen: &Screen) -> Result<Exit, Error> {
    let done = args.yes_done.as_deref();
    moved(Transition::Forward, &args.moving, args.expect, done, screen).await
}

/// Moves a table, in either direction.
pub async fn moved(
    way: Transition,
    args: &args::Moving,
    expect: Option<usize>,
    yes_done: Option<&str>,
    screen: &Screen,
) -> Result<Exit, Error> {
    let stores = OpenStores::open_new(&args.plan).await?;
    let lease = stores.plan.lease;
    if let Some(silent) = args.gone_silent
        && silent < lease.lasts + lease.operation
    {
        return Err(too_soon(silent, lease.lasts + lease.operation));
    }
    let stop = signal::stop_on_signal(screen);
    let mut exit = Exit::Done;
    for migration in stores.migrations(Some(&args.table))? {
        let done = Name {
            name: &migration.spec.name,
            flag: "--yes-done",
            given: yes_done,
        };
        let mut options = MoveOptions {
            expect,
            gone: Gone {
                ids: args.gone.clone(),
                silent: args.gone_silent,
            },
            clock: Clock::Machine,
            done: yes_done.map(str::to_owned),
            open_old: &|| Box::pin(connect::old_patiently(&stores.plan)),
        };
        if way == Transition::Forward {
            // It is a warning alone: the move doesn't wait for the old store because of it.
            let open_old: OpenOld<'_> = &|| Box::pin(connect::old(&stores.plan));
            if tell_unkept(&migration, open_old, screen).await {
                demand::tell((&stores.plan, &args.plan), &migration, args.to, screen).await;
            }
        }
        if args.dry_run {
            options.done = Some(migration.spec.name.clone());
            let steps = migration.forecast(way, args.to, &options).await?;
            exit = exit.max(print_forecast(&migration, args.to, &steps));
            if args.to == Phase::Done {
                let name = &migration.spec.name;
                format::print(&format!(
                    "{name}: would ask for the table's name: --yes-done {name}"
                ));
            }
            continue;
        }
        if args.to == Phase::Done && migration.record().await?.phase != Phase::Done {
            done.ask(screen, &no_way_back(&migration).await?)?;
            options.done = Some(migration.spec.name.clone());
        }
        let command = match way {
            Transition::Back => "back",
            Transition::Forward | Transition::Offline | Transition::Reset => "advance",
        };
        let again = next::command(command, &args.plan, Some(&args.table));
        let again = format!("{again} --to {}", args.to);
        let mut teller = EventPrinter::new(screen, &migration, again);
        let mut tell = |told: Event<'_>| teller.tell(told);
        migration
            .advance(way, args.to, &options, &stop, &mut tell)
            .await?;
        let spec = &migration.spec;
        format::print(&format!("{} -> {}: phase {}", spec.name, spec.to, args.to));
    }
    stores.close().await;
    Ok(exit)
}

/// Says how many keys the new store can't hold. It is a warning: looking may fail, and the move go on. Gives whether
/// looking went well.
async fn tell_unkept(migration: &Migration, open_old: OpenOld<'_>, screen: &Screen) -> bool {
    let table = &migration.spec.name;
    let unkept = migration.unkept(open_old).await;
    let looked = unkept.is_ok();
    match unkept {
        Ok(None) => {}
        Ok(Some(Unkept {
            sampled,
            count,
            example: (key, why),
        })) => screen.say(&format!(
            "{table}: warning: {} of {} sampled rows have keys that the new store can't hold, such as {key}: {why}. \
             From `bridge` on they are read from the old store and can't be written, and each will be a dead \
             letter, which `new` doesn't let pass",
            format::count(count as u64),
            format::count(sampled as u64),
        )),
        Err(error) => screen.say(&format!(
            "{table}: the tool couldn't look for keys that the new store can't hold: {error}"
        )),
    }
    looked
}

/// Says how a move goes on, and not the same every second.
pub struct EventPrinter<'a> {
    screen: &'a Screen,
    table: &'a str,
    /// The command line that goes on with it.
    again: String,
    waiting_for: BTreeSet<String>,
    said: Instant,
}

impl<'a> EventPrinter<'a> {
    pub fn new(screen: &'a Screen, migration: &'a Migration, again: String) -> Self {
        EventPrinter {
            screen,
            table: &migration.spec.name,
            again,
            waiting_for: BTreeSet::new(),
            said: Instant::now(),
        }
    }

    pub fn tell(&mut self, told: Event<'_>) {
        match told {
            Event::Applications(applications) => self.say(&registered(applications)),
            Event::Step { from, to } => {
                self.say(&format!("{from} -> {to}"));
            }
            Event::Waiting {
                phase,
                left,
                waited,
            } => self.waiting(phase, left, waited),
            Event::Reached(phase) => {
                self.waiting_for.clear();
                self.say(&format!("every participant is in `{phase}`"));
            }
            Event::Fencing { role, settles } => self.say(&format!(
                "`{role}` may not write to the old table any more; waiting {} s, until no server remembers \
                 otherwise",
                settles.as_secs()
            )),
            Event::Unfenced { role } => {
                self.say(&format!("`{role}` may write to the old table again"));
            }
        }
    }

    fn waiting(&mut self, phase: Phase, left: &[Awaited], waited: Duration) {
        let ids: BTreeSet<String> = left.iter().map(|one| one.id.clone()).collect();
        if ids == self.waiting_for && self.said.elapsed() < REMIND_EVERY {
            return;
        }
        let mut who: Vec<String> = left.iter().take(SHOWN).map(silent).collect();
        if left.len() > SHOWN {
            who.push(format!("and {} more", left.len() - SHOWN));
        }
        self.say(&format!(
            "waiting for {} to be in `{phase}`, {} s so far: {}",
            left.len(),
            waited.as_secs(),
            who.join("; ")
        ));
        if waited >= REMIND_EVERY {
            let unleased = left.iter().filter(|one| !one.participant.is_leased());
            let gone: Vec<String> = unleased
                .map(|one| format!(" --gone {}", visible(&one.id)))
                .collect();
            if !gone.is_empty() {
                self.say(&format!(
                    "a participant that is gone for good is waited for until you say so; if all of these are gone:\n  {}{}",
                    self.again,
                    gone.concat()
                ));
            }
        }
        self.waiting_for = ids;
        self.said = Instant::now();
    }

    fn say(&self, text: &str) {
        self.screen.say(&format!("{}: {text}", self.table));
    }
}

fn registered(applications: &[(String, Participant)]) -> String {
    let mut text = match applications.len() {
        0 => "no application is registered for this table, as expected".to_owned(),
        1 => "1 application is registered:".to_owned(),
        count => format!("{count} applications are registered:"),
    };
    for (id, one) in applications.iter().take(SHOWN_ONCE) {
        text.push_str(&format!("\n  {} {}", visible(id), visible(&one.name)));
    }
    if applications.len() > SHOWN_ONCE {
        let more = applications.len() - SHOWN_ONCE;
        text.push_str(&format!(
            "\n  and {more} more, which `migrate status` lists"
        ));
    }
    text.push_str(
        "\n  Any that isn't, and uses the table without the shim, would go on writing to the old store \
         alone: its writes would be lost. `--expect N` refuses another number",
    );
    text
}

fn silent(one: &Awaited) -> String {
    let landing = one.participant.longest_landing();
    if one.participant.gone {
        return format!(
            "{}, which is gone, but for what it has sent: that may land for another {} s ([lease] \
             landing_seconds)",
            named(&one.id, &one.participant),
            landing.saturating_sub(one.silent).as_secs()
        );
    }
    format!(
        "{}, silent for {} s",
        named(&one.id, &one.participant),
        one.silent.as_secs()
    )
}

fn named(id: &str, one: &Participant) -> String {
    let phase = one.phase.map_or("joining", Phase::name);
    let (id, name) = (visible(id), visible(&one.name));
    format!("{} {id} ({name}, {phase})", one.kind.name())
}

/// As an error if a step is refused as things are.
pub fn print_forecast(migration: &Migration, to: Phase, steps: &[MovePreview]) -> Exit {
    let table = &migration.spec.name;
    if steps.is_empty() {
        format::print(&format!("{table}: in `{to}` already"));
    }
    for step in steps {
        format::print(&format!("{table}: {} -> {}", step.from, step.to));
        for (id, one) in &step.waits_for {
            format::print(&format!("  would wait for {}", named(id, one)));
        }
        if let Some(role) = &step.takes {
            format::print(&format!(
                "  would revoke `{role}`'s write permission on the old table"
            ));
        }
        for role in &step.gives {
            format::print(&format!(
                "  would grant `{role}` its write permission on the old table again"
            ));
        }
        for refusal in &step.refusals {
            format::print(&format!(
                "  refused as it is: {}; {}",
                refusal.what, refusal.help
            ));
        }
    }
    match steps.iter().all(|step| step.refusals.is_empty()) {
        true => Exit::Done,
        false => Exit::Error,
    }
}
