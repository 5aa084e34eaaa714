//! Whether addresses can be connected to from here. A connection is made and closed; nothing is sent, and of what is there
//! nothing is told but that.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::locked;
use super::request::Task;

/// How long a connection may take.
const LIMIT: Duration = Duration::from_secs(2);
/// From one try to the next.
pub const AGAIN: Duration = Duration::from_mins(5);
/// Tries at the same time, of all addresses.
const AT_ONCE: usize = 8;

/// Host and port.
pub type Address = (String, u16);
/// What came of the last try of each address that was tried: one of a few fixed sentences where it failed.
pub type Found = BTreeMap<Address, Result<(), &'static str>>;

/// Which addresses can be connected to. A handle: clones are the same. What it tries ends with the last of them.
#[derive(Clone, Debug)]
pub struct Reach {
    owners: Arc<Mutex<BTreeMap<String, Owner>>>,
    places: Arc<Semaphore>,
    news: mpsc::UnboundedSender<String>,
}

/// Whose addresses they are.
#[derive(Debug)]
struct Owner {
    version: i64,
    addresses: BTreeSet<Address>,
    found: Arc<Mutex<Found>>,
    /// Dropping it ends the tries.
    _tries: Task,
}

impl Reach {
    /// Nothing yet; the receiver gets the name of whoever has something new.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (news, told) = mpsc::unbounded_channel();
        (Self { owners: Arc::default(), places: Arc::new(Semaphore::new(AT_ONCE)), news }, told)
    }

    /// Tries exactly these addresses of `owner` now, and again and again. With the same `version` and addresses as
    /// before, what is tried goes on undisturbed. Needs a Tokio runtime.
    pub fn follow(&self, owner: &str, version: i64, addresses: BTreeSet<Address>) {
        let mut owners = locked(&self.owners);
        let known = owners.get(owner);
        if known.is_some_and(|known| known.version == version && known.addresses == addresses) {
            return;
        }
        // What is known of an address stays until something else is.
        let mut found = known.map(|known| locked(&known.found).clone()).unwrap_or_default();
        found.retain(|address, _| addresses.contains(address));
        let found = Arc::new(Mutex::new(found));
        let tries = Tries {
            owner: owner.to_owned(),
            addresses: addresses.clone(),
            found: found.clone(),
            places: self.places.clone(),
            news: self.news.clone(),
        };
        let tries = Task::new(tokio::spawn(tries.run()));
        owners.insert(owner.to_owned(), Owner { version, addresses, found, _tries: tries });
    }

    /// Tries nothing of `owner` any more, and knows nothing of it.
    pub fn forget(&self, owner: &str) {
        locked(&self.owners).remove(owner);
    }

    /// What came of the tries for `owner`; an address that was not tried yet is not in it.
    pub fn found(&self, owner: &str) -> Found {
        let found = locked(&self.owners).get(owner).map(|known| known.found.clone());
        found.map(|found| locked(&found).clone()).unwrap_or_default()
    }
}

/// The tries of one owner's addresses.
struct Tries {
    owner: String,
    addresses: BTreeSet<Address>,
    found: Arc<Mutex<Found>>,
    places: Arc<Semaphore>,
    news: mpsc::UnboundedSender<String>,
}

impl Tries {
    async fn run(self) {
        loop {
            let each = self.addresses.iter().map(|address| async {
                let _place = self.places.acquire().await;
                (address.clone(), connect(address).await)
            });
            let now: Found = join_all(each).await.into_iter().collect();
            let changed = std::mem::replace(&mut *locked(&self.found), now.clone()) != now;
            if changed && self.news.send(self.owner.clone()).is_err() {
                return;
            }
            sleep(AGAIN).await;
        }
    }
}

async fn connect((host, port): &Address) -> Result<(), &'static str> {
    let connecting = async {
        let all = lookup_host((host.as_str(), *port)).await.map_err(|_| "its name is not known")?;
        let mut why = "its name has no address";
        for address in all {
            match TcpStream::connect(address).await {
                Ok(_) => return Ok(()),
                Err(error) => why = words(&error),
            }
        }
        Err(why)
    };
    timeout(LIMIT, connecting).await.unwrap_or(Err("no answer within 2 s"))
}

/// In few words: what a system says besides differs from one try to the next.
fn words(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "no route to it",
        ErrorKind::TimedOut => "no answer within 2 s",
        _ => "it cannot be connected to",
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::Instant;

    use super::*;

    async fn listener(port: u16) -> (TcpListener, Address) {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, ("127.0.0.1".to_owned(), port))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_open_and_what_is_not_is_told_when_it_changes() {
        let (_open, open) = listener(0).await;
        let (closed, address) = listener(0).await;
        drop(closed);
        let (reach, mut news) = Reach::new();
        let addresses = BTreeSet::from([open.clone(), address.clone()]);
        let began = Instant::now();
        reach.follow("a", 1, addresses.clone());
        assert!(reach.found("a").is_empty());
        assert_eq!(news.recv().await.as_deref(), Some("a"));
        let refused = Found::from([(open.clone(), Ok(())), (address.clone(), Err("connection refused"))]);
        assert_eq!(reach.found("a"), refused);
        assert!(began.elapsed() < AGAIN);
        // The same again is no news; another answer is.
        let again = timeout(AGAIN * 5 / 2, news.recv()).await;
        assert!(again.is_err(), "{again:?}");
        let (listening, _) = listener(address.1).await;
        reach.follow("a", 1, addresses.clone());
        let began = Instant::now();
        assert_eq!(news.recv().await.as_deref(), Some("a"));
        assert_eq!(reach.found("a").get(&address), Some(&Ok(())));
        assert!(began.elapsed() > LIMIT, "not before its time");
        // Another version is tried at once, and what is known stays until then.
        drop(listening);
        let began = Instant::now();
        reach.follow("a", 2, addresses);
        assert_eq!(reach.found("a").len(), 2);
        assert_eq!(news.recv().await.as_deref(), Some("a"));
        assert_eq!(reach.found("a"), refused);
        assert!(began.elapsed() <= LIMIT);
        reach.forget("a");
        assert!(reach.found("a").is_empty());
        assert!(timeout(AGAIN * 2, news.recv()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_is_given_up_and_delays_nobody() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap();
        let address = full.local_addr().unwrap();
        // Nobody takes what waits there, and then there is no room to wait.
        let mut waiting = Vec::new();
        while let Ok(connected) = timeout(LIMIT, TcpStream::connect(address)).await {
            waiting.push(connected.unwrap());
        }
        let (_open, open) = listener(0).await;
        let (reach, mut news) = Reach::new();
        let began = Instant::now();
        // More than are tried at the same time.
        let hanging: Vec<String> = (0..20).map(|n| format!("hanging-{n}")).collect();
        for owner in &hanging {
            reach.follow(owner, 1, BTreeSet::from([("127.0.0.1".to_owned(), address.port())]));
        }
        reach.follow("open", 1, BTreeSet::from([open]));
        for _ in 0..21 {
            news.recv().await.unwrap();
        }
        assert!(began.elapsed() < LIMIT * 4, "{:?}", began.elapsed());
        for owner in &hanging {
            let found: Vec<_> = reach.found(owner).into_values().collect();
            assert_eq!(found, [Err("no answer within 2 s")]);
        }
    }
}
