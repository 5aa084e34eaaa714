//! Millrace: a Kubernetes operator that defines, launches and monitors short-lived tasks.
//!
//! ```text
//! watch ─> observe ─> decide ─> apply ─> report
//!          (reads)    (pure)    (writes) (log, metric, event)
//!          Snapshot ─> Plan  ─>  Applied ─> Outcome
//! ```
//!
//! | Room | What is in it |
//! | --- | --- |
//! | [`api`] | the kinds as users write them, and thin copies of what is watched: serde, schema, CEL |
//! | [`names`] | every name, label, annotation, condition and reason; each literal once |
//! | [`launch`] | one launch, decided: what it runs, how it stands, how it ends, when it is deleted |
//! | [`monitoring`] | one stack, decided: its objects, what differs from what is there, how it stands |
//! | [`inject`] | the environment that a run's container gets |
//! | [`monitoring`] | the monitoring of a namespace, decided: configuration, rules, dashboards |
//! | [`controllers`] | wiring: watches, queue, workers; no decisions |
//! | [`cluster`] | the place that talks to the API server: observe reads, apply writes |
//! | [`proxy`] | the metrics proxy: takes the last metrics of short-lived tasks and keeps them; no Kubernetes |
//! | [`facts`] | asks the metrics proxies what arrived from which run; no Kubernetes |
//! | [`telemetry`] | logs, metrics, probes |
//! | [`cli`] | the command line: the only reader of arguments and environment |
//!
//! Imports point down only: `main → cli → controllers → cluster → {launch, monitoring} → {inject, names, api}`;
//! `proxy`, `facts` and `telemetry` stand beside. A test checks it.
//!
//! What holds, each with a test: the same snapshot gives the same plan; a launch makes at most one Job; a
//! finished launch stays finished; a plan applied twice writes nothing the second time; a bad object harms only
//! itself; the cluster role allows exactly what is called.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod controllers;
pub mod facts;
pub mod inject;
pub mod launch;
pub mod monitoring;
pub mod names;
pub mod proxy;
pub mod telemetry;
