//! The Java proxy and ours with the same 1,000 applications of 100 series each.

use crate::Effort;
use crate::apps::{self, Apps};
use crate::figures::{Figure, Wanted};
use crate::measure::{self, MIB, Scrape, median};
use crate::pushes;
use crate::support::java_proxy::JavaProxy;
use crate::support::proxy::Proxy;
use crate::support::{check, eventually};

/// Scrapes before the first that counts: Java compiles what it does often.
const WARM: usize = 5;

/// What was seen of one of them.
#[derive(Default)]
struct Seen {
    cpu: Vec<f64>,
    seconds: Vec<f64>,
    last: Option<Scrape>,
    resident: f64,
}

pub async fn run(effort: Effort) -> Vec<Figure> {
    let number = 1000 / effort.divisor;
    let bodies = apps::real(100, 2);
    let mut proxy = Proxy::start(&[]).await;
    let mut java = JavaProxy::start(&["-Xmx1g"]).await;
    let (mut us, mut they) = (Seen::default(), Seen::default());
    let ours = Apps::connect(proxy.tcp, 0..number, 64, &bodies);
    ours.keys(60).await;
    // Java makes a key pair for each, on the threads that serve the sockets.
    let theirs = Apps::connect(java.tcp, 0..number, 4, &bodies);
    theirs.keys(400).await;
    for _ in 0..WARM {
        measure::scrape(java.http, false).await;
        measure::scrape(proxy.http, false).await;
    }
    for _ in 0..effort.rounds {
        our_round(&mut proxy, &ours, &mut us).await;
        // Ours pulls all the time, and the scrape's time is not to suffer from it.
        proxy.process().signal("STOP");
        let before = measure::cpu(java.process().id());
        let scrape = measure::scrape(java.http, false).await;
        they.cpu.push(measure::cpu(java.process().id()) - before);
        proxy.process().signal("CONT");
        they.seconds.push(scrape.seconds);
        they.last = Some(scrape);
    }
    us.resident = measure::resident(proxy.process().id());
    they.resident = measure::resident(java.process().id());
    assert_eq!((ours.closed(), theirs.closed()), (0, 0), "no connection was lost");
    drop((ours, theirs));
    drop(proxy);
    // Java forgets the connections with the scrape that finds them closed.
    measure::scrape(java.http, false).await;
    let mut figures = told(number, &us, &they);
    figures.extend(pushes::sustained(effort, java.tcp).await);
    figures
}

/// CPU time of as many pulls as there are applications, with one scrape.
async fn our_round(proxy: &mut Proxy, apps: &Apps, seen: &mut Seen) {
    let process = proxy.process().id();
    let (cpu, answered) = (measure::cpu(process), apps.pulls());
    let scrape = measure::scrape(proxy.http, false).await;
    eventually(60, "all applications are pulled", async || {
        let pulls = apps.pulls() - answered;
        check(pulls >= apps.number(), pulls)
    })
    .await;
    let pulls = (apps.pulls() - answered) as f64;
    seen.cpu.push((measure::cpu(process) - cpu) * apps.number() as f64 / pulls);
    seen.seconds.push(scrape.seconds);
    seen.last = Some(scrape);
}

fn told(number: usize, us: &Seen, they: &Seen) -> Vec<Figure> {
    let (our_cpu, their_cpu) = (median(&us.cpu), median(&they.cpu));
    let (our_time, their_time) = (median(&us.seconds), median(&they.seconds));
    let bytes = |seen: &Seen| seen.last.map_or(0.0, |scrape| scrape.bytes as f64 / MIB);
    let of = format!("{number} applications × 100 series");
    let memory = Wanted::AtMost(1.0 / 10.0, 1.0 / 20.0);
    let cpu = Wanted::AtMost(1.0 / 1.5, 1.0 / 2.0);
    let time = Wanted::AtMost(1.0 / 10.0, 1.0 / 50.0);
    vec![
        Figure::new(format!("resident memory, {of} ÷ Java"), us.resident / they.resident, "", memory),
        Figure::note("resident memory, ours", us.resident / MIB, "MiB"),
        Figure::note("resident memory, Java", they.resident / MIB, "MiB"),
        Figure::new(
            format!("CPU of one pull of all and one scrape, {of} ÷ Java"),
            our_cpu / their_cpu,
            "",
            cpu,
        ),
        Figure::note("CPU of one pull of all and one scrape, ours", our_cpu, "s"),
        Figure::note("CPU of one scrape, which pulls all, Java", their_cpu, "s"),
        Figure::new(format!("one scrape, {of} ÷ Java"), our_time / their_time, "", time),
        Figure::note("one scrape, ours", our_time, "s"),
        Figure::note("one scrape, Java", their_time, "s"),
        Figure::note("text of one scrape, ours", bytes(us), "MiB"),
        Figure::note("text of one scrape, Java", bytes(they), "MiB"),
    ]
}
