//! The largest load that is promised: 10,000 applications of 1,000 series each.

use crate::Effort;
use crate::apps::{self, Apps};
use crate::figures::{Figure, Wanted};
use crate::measure::{self, MIB, counter, median};
use crate::support::proxy::Proxy;
use crate::support::{check, eventually};

const SERIES: usize = 1000;

pub async fn run(effort: Effort) -> Vec<Figure> {
    let number = 10_000 / effort.divisor;
    // A pull of all is 10 to 20 s of a core: every 10 s is for larger machines.
    let mut proxy = Proxy::start(&["--pull-seconds=60"]).await;
    let process = proxy.process().id();
    // One body each: to make them takes longer than all the rest.
    let apps = Apps::connect(proxy.tcp, 0..number, 64, &apps::real(SERIES, 1));
    apps.keys(240).await;
    eventually(240, "all applications are known", async || {
        let known = counter(proxy.http, "millrace_proxy_live ").await;
        check(known >= number as f64, known)
    })
    .await;
    let pulls = apps.pulls();
    let (mut seconds, mut gzipped, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..effort.rounds {
        let before = measure::cpu(process);
        let scrape = measure::scrape(proxy.http, false).await;
        cpus.push(measure::cpu(process) - before);
        assert!(scrape.lines >= number * SERIES, "every series is there: {scrape:?}");
        seconds.push(scrape.seconds);
        last = Some(scrape);
    }
    for _ in 0..effort.rounds.min(2) {
        gzipped.push(measure::scrape(proxy.http, true).await.seconds);
    }
    // A second pull of each: bodies that replace others must not cost more memory.
    eventually(120, "all applications are pulled once more", async || {
        let pulled = apps.pulls() - pulls;
        check(pulled >= number, pulled)
    })
    .await;
    let resident = measure::resident(process);
    assert_eq!(apps.closed(), 0, "no connection was lost");
    let of = format!("{number} applications × {SERIES} series");
    vec![
        Figure::new(format!("{of}: resident memory"), resident / 1e6, "MB", Wanted::AtMost(350.0, 220.0)),
        Figure::new(format!("{of}: one scrape"), median(&seconds), "s", Wanted::AtMost(10.0, 4.0)),
        Figure::note(format!("{of}: CPU of one scrape"), median(&cpus), "s"),
        Figure::note(format!("{of}: one scrape with gzip"), median(&gzipped), "s"),
        Figure::note(format!("{of}: text of one scrape"), last.map_or(0.0, |s| s.bytes as f64 / MIB), "MiB"),
    ]
}
