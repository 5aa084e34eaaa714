//! Counts every request to the API server, whoever makes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response, Uri};
use tower::{Layer, Service};

use super::metrics::{self, Metrics};

/// Wraps a client's service.
#[derive(Clone)]
pub struct CountRequests {
    /// Where to count.
    pub metrics: Arc<Metrics>,
}

/// A counted service.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.metrics.clone() }
    }
}

impl<S, B, C> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<C>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    C: 'static,
{
    type Response = Response<C>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, resource) = describe(request.method(), request.uri());
        let metrics = self.metrics.clone();
        let response = self.inner.call(request);
        Box::pin(async move {
            let response = response.await;
            let code = response.as_ref().map_or(0, |r| r.status().as_u16());
            metrics.requested(&metrics::Request { verb, resource, code });
            response
        })
    }
}

/// Verb and resource of a request, both from closed sets.
fn describe(method: &Method, uri: &Uri) -> (&'static str, &'static str) {
    let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    // /api/v1/… or /apis/GROUP/VERSION/…, then perhaps namespaces/NS, then RESOURCE[/NAME[/SUBRESOURCE]].
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => &[],
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        other => other,
    };
    let (resource, name) = match rest {
        ["tasklaunches", _, "status"] => ("tasklaunches/status", true),
        ["taskdefinitions", _, "status"] => ("taskdefinitions/status", true),
        [resource, name @ ..] => (known(resource), !name.is_empty()),
        [] => ("other", false),
    };
    let watch = uri.query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
    let verb = match *method {
        Method::GET if watch => "watch",
        Method::GET if name => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    (verb, resource)
}

fn known(resource: &str) -> &'static str {
    ["tasklaunches", "taskdefinitions", "jobs", "pods", "events", "configmaps"]
        .into_iter()
        .find(|known| *known == resource)
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        for (method, uri, expected) in [
            (Method::GET, "/apis/millrace.dev/v1alpha1/tasklaunches?limit=500", ("list", "tasklaunches")),
            (Method::GET, "/apis/batch/v1/jobs?labelSelector=x&watch=true", ("watch", "jobs")),
            (Method::POST, "/apis/batch/v1/namespaces/a/jobs?", ("create", "jobs")),
            (
                Method::PATCH,
                "/apis/millrace.dev/v1alpha1/namespaces/a/tasklaunches/x/status?",
                ("patch", "tasklaunches/status"),
            ),
            (Method::GET, "/api/v1/namespaces/a/configmaps/x", ("get", "configmaps")),
            (Method::GET, "/api/v1/namespaces/a/pods", ("list", "pods")),
            (Method::GET, "/version", ("list", "other")),
        ] {
            assert_eq!(describe(&method, &uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
