//! A door between clients and a proxy, as a Service is: while it is closed, connections are refused and open ones cut.

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
    to: SocketAddr,
    open: Option<JoinHandle<()>>,
}

impl Gate {
    /// One before `to`.
    pub fn before(to: SocketAddr) -> Self {
        Self { at: free_address(), to, open: None }
    }

    /// Lets clients in.
    pub async fn open(&mut self) {
        let (listener, to) = (TcpListener::bind(self.at).await.unwrap(), self.to);
        self.open = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut proxy) = TcpStream::connect(to).await {
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
