//! The allocator of execution ids (contract L5): blocks taken by compare-and-swap from a ConfigMap, so that an id
//! costs no write of its own and no two operators give the same one.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::Mutex;

use super::error::{Error, api_status};
use crate::names::{MANAGER, execution_ids as record, label};

/// Ids taken at once. A restart loses what is left of a block, so ids stay small enough to read; at 200 launches
/// a second this is two writes a second.
const BLOCK: i64 = 100;
const TRIES: usize = 10;
/// Ids beyond are somebody's mistake: they would leave no room to count on.
const USABLE: RangeInclusive<i64> = 1..=i64::MAX / 2;

/// Gives execution ids.
pub struct ExecutionIds {
    api: Api<ConfigMap>,
    block: Mutex<Block>,
}

/// What is left of a block, and the record as it was written for it: while nobody else writes it, the next block
/// costs no read.
#[derive(Default)]
struct Block {
    left: Range<i64>,
    record: Option<ConfigMap>,
}

impl ExecutionIds {
    /// An allocator whose record is in `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), block: Mutex::default() }
    }

    /// An id that nobody else has or will have. `highest` tells the highest id that is found in use; it is asked
    /// only when the record is lost.
    pub async fn next(&self, highest: impl Fn() -> i64 + Send) -> Result<i64, Error> {
        let mut block = self.block.lock().await;
        if block.left.is_empty() {
            let known = block.record.take();
            *block = self.take_block(known, highest).await?;
        }
        let id = block.left.start;
        block.left.start += 1;
        Ok(id)
    }

    async fn take_block(
        &self,
        mut known: Option<ConfigMap>,
        highest: impl Fn() -> i64 + Send,
    ) -> Result<Block, Error> {
        for _ in 0..TRIES {
            let current = match known.take() {
                Some(known) => Some(known),
                None => self.read().await?,
            };
            let first =
                current.as_ref().and_then(next_of).unwrap_or_else(|| recovered(highest(), current.is_some()));
            let block = first..first.saturating_add(BLOCK);
            let replaced = current.is_some();
            let written = match current {
                Some(mut map) => {
                    map.data.get_or_insert_default().insert(record::NEXT.to_owned(), block.end.to_string());
                    // Its resourceVersion makes this a compare-and-swap.
                    self.api.replace(record::CONFIG_MAP, &PostParams::default(), &map).await
                }
                None => self.api.create(&PostParams::default(), &new_record(block.end)).await,
            };
            match written {
                Ok(map) => {
                    tracing::debug!(first = block.start, next = block.end, version = ?map.resource_version(), "took a block of execution ids");
                    return Ok(Block { left: block, record: Some(map) });
                }
                // Another operator was faster, or somebody deleted the record that we knew.
                Err(e) if api_status(&e).is_some_and(|s| s.code == 409 || s.code == 404 && replaced) => {}
                Err(e) => return Err(Error::request("write", what(), e)),
            }
        }
        Err(Error::Contended(record::CONFIG_MAP))
    }

    async fn read(&self) -> Result<Option<ConfigMap>, Error> {
        self.api.get_opt(record::CONFIG_MAP).await.map_err(|e| Error::request("get", what(), e))
    }
}

fn what() -> String {
    format!("ConfigMap {}", record::CONFIG_MAP)
}

fn next_of(map: &ConfigMap) -> Option<i64> {
    map.data.as_ref()?.get(record::NEXT)?.parse().ok().filter(|next| USABLE.contains(next))
}

/// Where to go on without a record: above everything found, with room for what was found no more.
fn recovered(highest: i64, damaged: bool) -> i64 {
    if highest == 0 && !damaged {
        return 1;
    }
    let next = highest.saturating_add(10 * BLOCK);
    tracing::warn!(
        config_map = record::CONFIG_MAP,
        highest,
        next,
        "the record of execution ids is {}: going on above the highest id found; ids of launches deleted earlier may come again if they were higher",
        if damaged { "unreadable" } else { "lost" }
    );
    next
}

fn new_record(next: i64) -> ConfigMap {
    let labels = BTreeMap::from([(label::APP_MANAGED_BY.to_owned(), MANAGER.to_owned())]);
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(record::CONFIG_MAP.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(record::NEXT.to_owned(), next.to_string())])),
        ..ConfigMap::default()
    }
}
