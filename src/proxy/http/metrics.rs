//! The own metrics of store and exposition. Those of the connections, under the Java proxy's names, are the doors'.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::proxy::store::Store;
use crate::proxy::store::runs::Eviction;

/// What the last response to `/metrics/connected` was like.
#[derive(Debug, Default)]
pub struct Counts {
    /// Series in it.
    pub series: AtomicU64,
    /// Families about whose type bodies disagree.
    pub conflicts: AtomicU64,
    /// Series left out because another body had them.
    pub duplicates: AtomicU64,
    /// Responses made whole.
    pub responses: AtomicU64,
    /// Requests for which there was no place.
    pub refused: AtomicU64,
}

struct Collected {
    store: Arc<OnceLock<Arc<Store>>>,
    counts: Arc<Counts>,
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// Adds the metrics of store and exposition.
pub fn register(registry: &mut Registry, store: Arc<OnceLock<Arc<Store>>>, counts: Arc<Counts>) {
    registry.register_collector(Box::new(Collected { store, counts }));
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: &AtomicU64) -> fmt::Result {
    let counter = ConstCounter::new(value.load(Ordering::Relaxed));
    counter.encode(to.encode_descriptor(name, help, None, counter.metric_type())?)
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.encode(to.encode_descriptor(name, help, None, gauge.metric_type())?)
}

impl Collector for Collected {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        let seen = &self.counts;
        let last = |value: &AtomicU64| value.load(Ordering::Relaxed);
        gauge(to, "millrace_proxy_exposed_series", "Series of the last response", last(&seen.series))?;
        let help = "Families of the last response about whose type bodies disagree";
        gauge(to, "millrace_proxy_exposed_conflicts", help, last(&seen.conflicts))?;
        let help = "Series left out of the last response because a newer body without identity has them";
        gauge(to, "millrace_proxy_exposed_duplicates", help, last(&seen.duplicates))?;
        counter(to, "millrace_proxy_responses", "Responses with all applications made", &seen.responses)?;
        let help = "Requests for all applications refused because too many others read";
        counter(to, "millrace_proxy_responses_refused", help, &seen.refused)?;
        let Some(store) = self.store.get() else { return Ok(()) };
        let counts = &store.counts;
        counter(
            to,
            "millrace_proxy_invalid_lines",
            "Lines of bodies dropped as unreadable",
            &counts.invalid,
        )?;
        counter(
            to,
            "millrace_proxy_duplicate_series",
            "Series that their body had twice",
            &counts.duplicate,
        )?;
        counter(to, "millrace_proxy_dropped_series", "Series dropped by patterns", &counts.dropped)?;
        counter(to, "millrace_proxy_identity_repaired", "Series whose identity was set", &counts.repaired)?;
        counter(to, "millrace_proxy_store_damaged", "Damaged places found at start", &counts.damaged)?;
        counter(
            to,
            "millrace_proxy_store_unwritten",
            "Final bodies that could not be written",
            &counts.unwritten,
        )?;
        counter(to, "millrace_proxy_store_refused", "Live bodies that cannot be kept", &counts.refused)?;
        counter(to, "millrace_proxy_store_no_room", "Live bodies dropped for want of room", &counts.no_room)?;
        let help = "Requests of scrapers beyond those that are waited for";
        counter(to, "millrace_proxy_scrapers_ignored", help, &counts.unknown_scrapers)?;
        let totals = store.totals();
        gauge(to, "millrace_proxy_store_memory_bytes", "Memory of all bodies", totals.memory as u64)?;
        gauge(to, "millrace_proxy_store_disk_bytes", "Size of the log", totals.disk as u64)?;
        gauge(to, "millrace_proxy_finals", "Final bodies kept", totals.finals as u64)?;
        gauge(to, "millrace_proxy_live", "Living applications with a body", totals.live as u64)?;
        gauge(to, "millrace_proxy_scrapers", "Scrapers that are waited for", totals.scrapers as u64)?;
        let evictions: Family<Why, Counter> = Family::default();
        for (why, count) in totals.evictions {
            let reason = match why {
                Eviction::Delivered => "delivered",
                Eviction::Expired => "expired",
                Eviction::Bytes => "bytes",
                Eviction::Replaced => "replaced",
            };
            evictions.get_or_create(&Why { reason }).inc_by(count);
        }
        let help = "Final bodies let go, by reason";
        evictions.encode(to.encode_descriptor(
            "millrace_proxy_evictions",
            help,
            None,
            evictions.metric_type(),
        )?)
    }
}
