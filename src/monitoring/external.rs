//! Where the parts are that others run.

use std::collections::BTreeSet;

use super::object::Part;
use crate::api::TaskMonitoringSpec;
use crate::api::task_monitoring::{Mode, WavefrontMode};

/// Host and port.
pub type Address = (String, u16);

/// Port of a Wavefront proxy that names none.
const WAVEFRONT_PROXY: u16 = 2878;

/// The addresses of all parts that others run for a stack in `namespace`.
pub fn all(namespace: &str, spec: &TaskMonitoringSpec) -> BTreeSet<Address> {
    Part::ALL.iter().flat_map(|part| addresses(namespace, spec, *part)).collect()
}

/// Those of one part; none if it is not run by others.
pub(super) fn addresses(namespace: &str, spec: &TaskMonitoringSpec, part: Part) -> Vec<Address> {
    let external = |mode| mode == Mode::External;
    let (prometheus, proxy, grafana) = (&spec.prometheus, &spec.proxy, &spec.grafana);
    let of_url = |url: &String| of_url(namespace, url);
    let found = match part {
        Part::Prometheus if external(prometheus.mode) => {
            [prometheus.external.as_ref().and_then(|e| of_url(&e.url)), None]
        }
        Part::Proxy if external(proxy.mode) => {
            let host = |host: &str| seen_from_elsewhere(namespace, host);
            let door =
                proxy.external.as_ref().and_then(|e| Some((host(&e.host), u16::try_from(e.port).ok()?)));
            [door, proxy.external.as_ref().and_then(|e| of_url(e.push_url.as_ref()?))]
        }
        Part::Grafana if external(grafana.mode) => {
            [grafana.external.as_ref().and_then(|e| of_url(&e.url)), None]
        }
        Part::InfluxDb if external(spec.influxdb.mode) => {
            [spec.influxdb.external.as_ref().and_then(|e| of_url(&e.url)), None]
        }
        Part::Wavefront if spec.wavefront.mode == WavefrontMode::External => {
            [spec.wavefront.external.as_ref().and_then(|e| of_url(&e.url)), None]
        }
        _ => [None, None],
    };
    found.into_iter().flatten().collect()
}

fn of_url(namespace: &str, url: &str) -> Option<Address> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, port) = bracketed.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let usual = match scheme {
        "https" => 443,
        "proxy" => WAVEFRONT_PROXY,
        _ => 80,
    };
    let port = port.map_or(Some(usual), |port| port.parse().ok())?;
    (!host.is_empty() && port > 0).then(|| (seen_from_elsewhere(namespace, host), port))
}

/// A name without a dot is a Service of the stack's own namespace, which the operator is not in.
fn seen_from_elsewhere(namespace: &str, host: &str) -> String {
    if host.contains(['.', ':']) { host.to_owned() } else { format!("{host}.{namespace}.svc") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_tried_of_each_part() {
        let spec = serde_json::from_value(json!({
            "prometheus": {"mode": "External", "external": {"url": "https://p.example.com/prometheus"}},
            "proxy": {"mode": "External", "external": {"host": "proxy", "pushUrl": "http://push.team-b.svc:9091/x"}},
            "grafana": {"mode": "External", "external": {"url": "http://[fd00::1]:3000"}},
            "influxdb": {"mode": "External", "external": {"url": "http://influx:8086/"}},
            "wavefront": {"mode": "External", "external": {"url": "proxy://10.0.0.7"}},
        }));
        let spec: TaskMonitoringSpec = spec.unwrap();
        let of = |part| -> Vec<String> {
            addresses("team-a", &spec, part)
                .into_iter()
                .map(|(host, port)| format!("{host} {port}"))
                .collect()
        };
        assert_eq!(of(Part::Prometheus), ["p.example.com 443"]);
        assert_eq!(of(Part::Proxy), ["proxy.team-a.svc 7001", "push.team-b.svc 9091"]);
        assert_eq!(of(Part::Grafana), ["fd00::1 3000"]);
        assert_eq!(of(Part::InfluxDb), ["influx.team-a.svc 8086"]);
        assert_eq!(of(Part::Wavefront), ["10.0.0.7 2878"]);
        assert_eq!(all("team-a", &spec).len(), 6);
        assert!(all("team-a", &TaskMonitoringSpec::default()).is_empty());
    }

    #[test]
    fn what_is_no_address_is_not_tried() {
        for url in ["p", "http://", "http://:80", "http://a:99999", "http://a:0", "http://[::1", "http://a:b"]
        {
            assert_eq!(of_url("n", url), None, "{url}");
        }
    }
}
