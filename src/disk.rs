//! A sled folder under the rules that make it dependable: what the embedded store and the journal
//! are on.
//!
//! - One folder, one owner: a lock file of our own, which says who holds it.
//! - One thread does every write; what arrives together is flushed together, and nothing hears of a
//!   write before it is on the disk. sled's own `flush` ends in `sync_file_range`, which isn't a
//!   barrier, so the file is synced once more by us.
//! - sled may panic on a damaged folder, and may hang: it is opened in a thread of its own, with a
//!   time limit.
//! - A write that failed poisons the folder: nothing is accepted after it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Effect, Error, Kind, Result};

const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// Records that are written with one flush when a folder is written anew.
#[cfg(feature = "copy")]
const FILL_AT_ONCE: usize = 10_000;
/// How long this process may take to let go of a folder that it has closed.
const FREE_WITHIN: Duration = Duration::from_secs(5);
/// How long a note may lie before it is written, and how many may.
const NOTES_WITHIN: Duration = Duration::from_millis(200);
const MOST_NOTES: usize = 1_000;
const CACHE_BYTES: u64 = 48 << 20;

/// Why a folder couldn't be opened.
#[derive(Debug)]
pub(crate) enum OpenRefusal {
    /// Another process holds it; this is what it left in the lock file.
    Held(String),
    /// It is there, but can't be read.
    Damaged(String),
    /// It can't be made or written at all.
    Unusable(Error),
}

/// A folder's records, key and value, in order.
#[cfg(feature = "copy")]
pub(crate) type Content = Vec<(Vec<u8>, Vec<u8>)>;

type DiskWork = Box<dyn FnOnce(&sled::Db) -> Result<()> + Send>;

enum DiskCommand {
    /// A change, and who waits for it to be on the disk.
    Change(DiskWork, Option<oneshot::Sender<Result<()>>>),
    Stop,
}

/// An open folder.
pub(crate) struct Disk {
    db: Option<sled::Db>,
    commands: Sender<DiskCommand>,
    owner: Option<JoinHandle<()>>,
    // Held until drop; the kernel lets go of it when the process dies.
    _lock: File,
}

impl Disk {
    /// Opens a folder, making it if need be (mode 0700).
    pub(crate) fn open(folder: &Path) -> Result<Disk, OpenRefusal> {
        make_folder(folder).map_err(OpenRefusal::Unusable)?;
        let lock = lock(folder)?;
        let db = open_sled(folder)?;
        let synced = folder.to_owned();
        let (commands, inbox) = channel();
        let owned = db.clone();
        let owner = std::thread::Builder::new()
            .name("disk".into())
            .spawn(move || own(&owned, &synced, &inbox))
            .map_err(|error| OpenRefusal::Unusable(io_error("start a thread", folder, error)))?;
        Ok(Disk {
            db: Some(db),
            commands,
            owner: Some(owner),
            _lock: lock,
        })
    }

    /// Runs reads on a thread where they may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&sled::Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(db) = self.db.clone() else {
            return Err(gone());
        };
        tokio::task::spawn_blocking(move || read(&db))
            .await
            .map_err(|_| gone())?
    }

    /// Makes a change, and answers when it is on the disk.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&sled::Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tell, outcome) = oneshot::channel();
        let (done, flushed) = oneshot::channel();
        let work: DiskWork = Box::new(move |db| {
            let value = change(db)?;
            // The receiver is gone only if the caller has given up.
            let _ = tell.send(value);
            Ok(())
        });
        self.commands
            .send(DiskCommand::Change(work, Some(done)))
            .map_err(|_| gone())?;
        flushed.await.map_err(|_| gone())??;
        outcome.await.map_err(|_| gone())
    }

    /// Makes a change that nothing waits for, within a moment. If it fails, the next [`Disk::write`]
    /// says so.
    #[cfg(feature = "copy")]
    pub(crate) fn note(&self, change: impl FnOnce(&sled::Db) -> Result<()> + Send + 'static) {
        // A stopped owner has told its reason to those who wait; a note is a hint.
        let _ = self
            .commands
            .send(DiskCommand::Change(Box::new(change), None));
    }

    /// Everything in the default tree, in order. Blocks.
    #[cfg(feature = "copy")]
    pub(crate) fn content(&self) -> Result<Content, sled::Error> {
        let Some(db) = &self.db else {
            return Ok(Content::new());
        };
        db.iter()
            .map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())))
            .collect()
    }

    /// Bytes of everything in the default tree. Blocks.
    #[cfg(feature = "copy")]
    pub(crate) fn live(&self) -> Result<u64, sled::Error> {
        let pairs = self.db.iter().flat_map(|db| db.iter());
        let size = |pair: sled::Result<(sled::IVec, sled::IVec)>| {
            pair.map(|(key, value)| (key.len() + value.len()) as u64)
        };
        pairs.map(size).sum()
    }

    /// Fills an empty folder, and answers when all of it is on the disk. Blocks.
    #[cfg(feature = "copy")]
    pub(crate) fn fill(&self, content: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        content
            .chunks(FILL_AT_ONCE)
            .try_for_each(|part| self.fill_part(part))
    }

    #[cfg(feature = "copy")]
    fn fill_part(&self, content: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut batch = sled::Batch::default();
        content
            .iter()
            .for_each(|(key, value)| batch.insert(key.as_slice(), value.as_slice()));
        let (done, flushed) = oneshot::channel();
        let work: DiskWork = Box::new(move |db| {
            db.apply_batch(batch)
                .map_err(|error| disk_error("write to", Path::new("journal"), error))
        });
        self.commands
            .send(DiskCommand::Change(work, Some(done)))
            .map_err(|_| gone())?;
        flushed.blocking_recv().map_err(|_| gone())?
    }

    /// Bytes on the disk.
    #[cfg(feature = "copy")]
    pub(crate) fn size(&self) -> u64 {
        self.db
            .as_ref()
            .and_then(|db| db.size_on_disk().ok())
            .unwrap_or(0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.commands.send(DiskCommand::Stop);
        drop(self.db.take());
        if let Some(owner) = self.owner.take() {
            let _ = owner.join();
        }
    }
}

/// What has come in, once a caller waits for it. Notes alone are worth no flush of their own: they
/// are kept for a moment, in which more of them come.
fn gathered(inbox: &Receiver<DiskCommand>) -> Option<Vec<DiskCommand>> {
    let mut commands = vec![inbox.recv().ok()?];
    let begun = Instant::now();
    while commands.len() < MOST_NOTES
        && commands
            .iter()
            .all(|command| matches!(command, DiskCommand::Change(_, None)))
    {
        match inbox.recv_timeout(NOTES_WITHIN.saturating_sub(begun.elapsed())) {
            Ok(command) => commands.push(command),
            Err(_) => break,
        }
    }
    commands.extend(inbox.try_iter());
    Some(commands)
}

/// The owner thread: takes what has come in, does it, flushes once, and answers all.
fn own(db: &sled::Db, folder: &Path, inbox: &Receiver<DiskCommand>) {
    let mut poison: Option<Error> = None;
    let mut running = true;
    while running {
        let Some(commands) = gathered(inbox) else {
            return;
        };
        stop_point("before a flush of the journal");
        let mut waiting = Vec::new();
        let mut is_changed = false;
        for command in commands {
            let DiskCommand::Change(work, tell) = command else {
                running = false;
                break;
            };
            is_changed = true;
            let outcome = match &poison {
                Some(error) => Err(error.clone()),
                None => caught(folder, || work(db)),
            };
            if let Some(tell) = tell {
                waiting.push((tell, outcome));
            } else if let Err(error) = outcome
                && poison.is_none()
            {
                poison = Some(error);
            }
        }
        if !is_changed {
            // It is only to stop, and the folder may be gone by now.
            return;
        }
        let flushed = match &poison {
            Some(error) => Err(error.clone()),
            None => caught(folder, || barrier(db, folder)),
        };
        if let Err(error) = &flushed
            && poison.is_none()
        {
            tracing::error!("{error}");
            poison = Some(error.clone());
        }
        stop_point("after a flush of the journal");
        for (tell, outcome) in waiting {
            let _ = tell.send(outcome.and_then(|()| flushed.clone()));
        }
    }
}

/// Where a test may have the process die.
fn stop_point(_place: &str) {
    #[cfg(feature = "conformance")]
    crate::failpoints::point(_place);
}

/// What is written is on the disk when this returns.
fn barrier(db: &sled::Db, folder: &Path) -> Result<()> {
    db.flush()
        .map_err(|error| disk_error("write to", folder, error))?;
    let synced = File::open(folder.join("db")).and_then(|file| file.sync_data());
    synced.map_err(|error| io_error("sync", folder, error))
}

fn caught<T>(folder: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(
            Error::new(Kind::Corrupt, "the folder's database failed inside")
                .with_effect(Effect::Unknown)
                .with_context("folder", folder.display().to_string()),
        )
    })
}

/// Opens the folder that our lock says is ours. sled has a lock too, which this very process may
/// still hold for a moment after it has closed the folder: for a read that isn't over yet, or for
/// one of sled's own threads.
fn open_sled(folder: &Path) -> Result<sled::Db, OpenRefusal> {
    let begun = Instant::now();
    loop {
        match open_sled_once(folder) {
            Err(OpenRefusal::Held(_)) if begun.elapsed() < FREE_WITHIN => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened,
        }
    }
}

fn open_sled_once(folder: &Path) -> Result<sled::Db, OpenRefusal> {
    let (tell, outcome) = channel();
    let path = folder.to_owned();
    let spawned = std::thread::Builder::new()
        .name("open".into())
        .spawn(move || {
            let opened = catch_unwind(|| {
                sled::Config::new()
                    .path(&path)
                    .cache_capacity(CACHE_BYTES)
                    .mode(sled::Mode::LowSpace)
                    .flush_every_ms(None)
                    .use_compression(false)
                    .open()
            });
            // Nothing listens any more once the time is over.
            let _ = tell.send(opened.map_err(|_| "it failed inside while opening".to_owned()));
        });
    spawned.map_err(|error| OpenRefusal::Unusable(io_error("start a thread", folder, error)))?;
    match outcome.recv_timeout(OPEN_WITHIN) {
        Ok(Ok(Ok(db))) => {
            let synced = File::open(folder).and_then(|file| file.sync_all());
            synced.map_err(|error| OpenRefusal::Unusable(io_error("sync", folder, error)))?;
            Ok(db)
        }
        Ok(Ok(Err(sled::Error::Io(error)))) if error.to_string().contains("acquire lock") => {
            Err(OpenRefusal::Held("a process that isn't known".into()))
        }
        Ok(Ok(Err(sled::Error::Io(error)))) if is_outside(&error) => {
            Err(OpenRefusal::Unusable(io_error("open", folder, error)))
        }
        Ok(Ok(Err(error))) => Err(OpenRefusal::Damaged(error.to_string())),
        Ok(Err(why)) => Err(OpenRefusal::Damaged(why)),
        Err(_) => Err(OpenRefusal::Damaged(format!(
            "it didn't open within {OPEN_WITHIN:?}"
        ))),
    }
}

/// Whether an I/O error speaks of the machine rather than of the file's content.
fn is_outside(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::PermissionDenied
            | std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::ReadOnlyFilesystem
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge
    )
}

fn make_folder(folder: &Path) -> Result<()> {
    private_folder(folder).map_err(|error| io_error("make", folder, error))
}

/// Makes a folder that only its owner can look into, from its first moment on (mode 0700).
pub(crate) fn private_folder(folder: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)))
}

/// Makes a file that only its owner can read, from its first moment on (mode 0600), or empties the one that
/// is there.
#[cfg(feature = "copy")]
pub(crate) fn private_file(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

fn lock(folder: &Path) -> Result<File, OpenRefusal> {
    let unusable = |error| OpenRefusal::Unusable(io_error("lock", folder, error));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join("lock"))
        .map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(OpenRefusal::Held(holder.trim().to_owned()));
        }
        Err(fs::TryLockError::Error(error)) => return Err(unusable(error)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| writeln!(file, "process {}", std::process::id()));
    written.map_err(unusable)?;
    Ok(file)
}

/// Moves a folder that can't be used out of the way, and says where to. Nothing is deleted.
#[cfg(feature = "copy")]
pub(crate) fn set_aside(folder: &Path) -> Result<std::path::PathBuf> {
    let name = folder
        .file_name()
        .map_or_else(Default::default, |name| name.to_string_lossy());
    for number in 1..10_000 {
        let aside = folder.with_file_name(format!("{name}.aside-{number}"));
        if !aside.exists() {
            let moved = fs::rename(folder, &aside);
            return moved
                .map(|()| aside)
                .map_err(|error| io_error("set aside", folder, error));
        }
    }
    Err(Error::new(
        Kind::Config,
        "thousands of folders have been set aside here; delete some",
    )
    .with_context("folder", folder.display().to_string()))
}

/// An error of the database under a folder.
pub(crate) fn disk_error(what: &str, folder: &Path, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) => io_error(what, folder, error),
        sled::Error::Corruption { .. } => Error::new(
            Kind::Corrupt,
            format!("can't {what} the folder: it is damaged"),
        )
        .with_context("folder", folder.display().to_string())
        .with_source(error),
        sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_) => {
            Error::new(Kind::Unknown, format!("can't {what} the folder: {error}"))
                .with_effect(Effect::Unknown)
                .with_context("folder", folder.display().to_string())
        }
    }
}

fn io_error(what: &str, folder: &Path, error: std::io::Error) -> Error {
    let help = match error.kind() {
        std::io::ErrorKind::StorageFull
        | std::io::ErrorKind::QuotaExceeded
        | std::io::ErrorKind::FileTooLarge => "free some space and start again",
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            "this user has to be able to write there"
        }
        std::io::ErrorKind::NotADirectory | std::io::ErrorKind::AlreadyExists => {
            "a part of this path is a file, and no folder: move it, or name another folder in the plan"
        }
        _ => "check the disk, or name another folder in the plan",
    };
    // The database hands on copies, whose text is for programmers; the kind is kept.
    let why = match (error.raw_os_error(), error.kind()) {
        (Some(_), _) | (None, std::io::ErrorKind::Other) => error.to_string(),
        (None, kind) => kind.to_string(),
    };
    Error::new(Kind::Config, format!("can't {what} the folder: {why}"))
        .with_effect(Effect::Unknown)
        .with_context("folder", folder.display().to_string())
        .with_help(help)
        .with_source(error)
}

fn gone() -> Error {
    Error::new(Kind::Stopped, "the folder has been closed").with_effect(Effect::Unknown)
}
