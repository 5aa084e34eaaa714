//! The cluster, and whose turn it is.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::runtime::wait::{Condition, await_condition};
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore};

const HOW: &str =
    "run tests/e2e/prepare, then `eval \"$(tests/cluster/cluster env)\"`, or `make e2e` for all of it";

/// Label of the operator's namespace where these tests may do what they like.
const PREPARED: &str = "millrace.dev/e2e";

/// Tests that leave the operator in peace share it; one that does not has it alone. The lock is fair.
static OPERATOR: RwLock<()> = RwLock::const_new(());
/// JVMs that start at the same time on two cores only delay each other.
pub static JVMS: Semaphore = Semaphore::const_new(2);

/// While it is held, the operator is.
pub enum Turn {
    /// Others are at work too.
    Beside { _guard: RwLockReadGuard<'static, ()> },
    /// Nobody else is.
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// A turn with others.
pub async fn turn_beside() -> Turn {
    Turn::Beside { _guard: OPERATOR.read().await }
}

/// A turn of one's own.
pub async fn turn_alone() -> Turn {
    Turn::Alone { _guard: OPERATOR.write().await }
}

/// A client of the cluster, which must be there and prepared: these tests kill and uninstall the operator, and must
/// not do so wherever a kube config happens to point.
pub async fn connect() -> Client {
    let config = Config::infer().await;
    let config = config.unwrap_or_else(|e| panic!("no cluster ({e}): {HOW}"));
    let client = Client::try_from(config).unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let answer =
        tokio::time::timeout(Duration::from_secs(10), namespaces.get_opt(super::operator::NAMESPACE)).await;
    let answer = answer.unwrap_or_else(|_| panic!("the cluster does not answer within 10 s: {HOW}"));
    let answer = answer.unwrap_or_else(|e| panic!("the cluster does not answer ({e}): {HOW}"));
    let prepared = answer.and_then(|n| n.metadata.labels).is_some_and(|labels| labels.contains_key(PREPARED));
    assert!(
        prepared,
        "the cluster of this kube config was not prepared for these tests, which end operators: {HOW}"
    );
    client
}

/// Waits until an object is as it should be; `None` if it should be gone.
pub async fn until<K>(
    api: Api<K>,
    name: &str,
    what: &str,
    seconds: u64,
    condition: impl Condition<K>,
) -> Option<K>
where
    K: Clone + std::fmt::Debug + Send + DeserializeOwned + Resource + 'static,
{
    let answer = within(seconds, &format!("{name}: {what}"), await_condition(api, name, condition)).await;
    answer.unwrap_or_else(|e| panic!("waiting for {name}: {what}: {e}"))
}

/// Awaits something that must happen in time.
pub async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    let future = pin!(future);
    let answer = tokio::time::timeout(Duration::from_secs(seconds), future).await;
    answer.unwrap_or_else(|_| panic!("not within {seconds} s: {what}"))
}
