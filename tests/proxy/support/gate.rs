//! A door between clients and a proxy or its replicas, as a Service is: while it is closed, connections are refused and
//! open ones cut.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::process::free_address;

/// A door; closed at first.
#[derive(Debug)]
pub struct Gate {
    /// Where clients go.
    pub at: SocketAddr,
    to: Vec<SocketAddr>,
    open: Option<JoinHandle<()>>,
}

impl Gate {
    /// One before `to`.
    pub fn before(to: SocketAddr) -> Self {
        Self::before_any(&[to])
    }

    /// One before replicas: connections go to one after the other, and past those that take none.
    pub fn before_any(replicas: &[SocketAddr]) -> Self {
        Self { at: free_address(), to: replicas.to_vec(), open: None }
    }

    /// Lets clients in.
    pub async fn open(&mut self) {
        let (listener, to) = (TcpListener::bind(self.at).await.unwrap(), self.to.clone());
        self.open = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut turns = (0..to.len()).cycle();
            while let Ok((mut client, _)) = listener.accept().await {
                let (first, to) = (turns.next().unwrap_or_default(), to.clone());
                connections.spawn(async move {
                    if let Some(mut proxy) = reach(&to, first).await {
                        let _ = copy_bidirectional(&mut client, &mut proxy).await;
                    }
                });
            }
        }));
    }

    /// Cuts all connections.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            let _ = open.await;
        }
    }
}

/// A connection to this one, or to the next that takes it.
async fn reach(replicas: &[SocketAddr], first: usize) -> Option<TcpStream> {
    for replica in replicas.iter().cycle().skip(first).take(replicas.len()) {
        if let Ok(stream) = TcpStream::connect(replica).await {
            return Some(stream);
        }
    }
    None
}
