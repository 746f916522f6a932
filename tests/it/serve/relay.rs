//! Passes a server's connections on, and can be as if the server were down: whoever connects is refused.

use std::io::{ErrorKind, copy};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// It listens until the test's process ends.
pub struct Relay {
    /// `127.0.0.1:40001`.
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// What was asked for, and what is.
    up: AtomicBool,
    is_up: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// In front of a server.
    pub fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let shared = Arc::new(Shared {
            up: AtomicBool::new(true),
            is_up: AtomicBool::new(true),
            open: Mutex::default(),
        });
        let relay = Relay {
            address: address.clone(),
            shared: shared.clone(),
        };
        let server = server.to_owned();
        thread::spawn(move || shared.listen(listener, &address, &server));
        relay
    }

    /// Cuts all connections, and refuses others.
    pub fn down(&self) {
        self.turn(false);
    }

    /// Takes connections again.
    pub fn up(&self) {
        self.turn(true);
    }

    fn turn(&self, up: bool) {
        self.shared.up.store(up, Ordering::SeqCst);
        while self.shared.is_up.load(Ordering::SeqCst) != up {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Shared {
    fn listen(self: Arc<Self>, first: TcpListener, address: &str, server: &str) {
        let mut listener = Some(first);
        loop {
            thread::sleep(Duration::from_millis(2));
            if !self.up.load(Ordering::SeqCst) {
                listener = None;
                for open in self.open.lock().expect("no panic").drain(..) {
                    let _ = open.shutdown(Shutdown::Both);
                }
                self.is_up.store(false, Ordering::SeqCst);
                continue;
            }
            let listening = listener
                .get_or_insert_with(|| TcpListener::bind(address).expect("the same port again"));
            listening.set_nonblocking(true).expect("a listener");
            self.is_up.store(true, Ordering::SeqCst);
            match listening.accept() {
                Ok((client, _)) => {
                    client.set_nonblocking(false).expect("a stream");
                    self.pass(&client, server);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn pass(&self, client: &TcpStream, server: &str) {
        let server = TcpStream::connect(server).expect("the server");
        let mut open = self.open.lock().expect("no panic");
        for (from, to) in [(client, &server), (&server, client)] {
            let _ = from.set_nodelay(true);
            let (mut from, mut to) = (
                from.try_clone().expect("a stream"),
                to.try_clone().expect("a stream"),
            );
            open.push(from.try_clone().expect("a stream"));
            thread::spawn(move || {
                let _ = copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
            });
        }
    }
}
