//! Checks each request before it is executed, in this order.
//!
//! 1. Over the socket, the kernel reports the user of the client's process. This user must be the host's user or root.
//!    A process of one of the host's plugins is rejected, and so is every process that it has started. No token is
//!    needed.
//! 2. The `Host` header must name this machine, or be an allowed name. An attacker could let a domain name of their own
//!    resolve to this machine (DNS rebinding), but the requests of a page from that domain have the domain name in this
//!    header. The port is not compared: a client may use a tunnel, and the name is enough to detect such a page.
//! 3. The `Origin` header, if a browser sends it, must be the origin of this control plane or an allowed origin. So a
//!    page at a different port of this machine is rejected. Answers have no CORS headers, so no other page can read
//!    them.
//! 4. Over TCP, the token must be correct. It is compared in constant time, before any byte of the body is read.
//! 5. The declared length of the body must be within the limit.
//!
//! The checks and the execution run in the request's span.

use super::{
    App,
    caller::{Caller, Connection},
    command::Who,
    envelope::{MAX_BODY, too_large_body},
    error::{Code, ControlError},
    routes::{self, Api, Route},
    span, token,
};
use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_LENGTH, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS},
        uri::Authority,
    },
    response::{IntoResponse, Response},
};
use replug_runtime::lineage::Origin;
use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};
use tracing::Instrument;

/// The checks for TCP.
pub(super) struct TcpChecks {
    pub(super) token: String,
    /// The names that `Host` may have in addition to this machine's own names. An entry is a name, or an origin that
    /// contains the name.
    pub(super) allowed_hosts: Vec<String>,
    pub(super) scheme: &'static str,
}

static REQUESTS: AtomicU64 = AtomicU64::new(1);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers a request of this connection for this route, or rejects it.
pub(super) async fn guard(
    (api, connection, route): (&Api, &Connection, Option<&Route>),
    request: Request,
) -> Response {
    let app = &*api.app;
    let request_id = format!("{}-{}", app.recent.run(), REQUESTS.fetch_add(1, Ordering::Relaxed));
    let header = HeaderValue::from_str(&request_id);
    let span = span::of((request.method(), route), &request_id);
    let answering = async {
        match admit((app, connection), &request) {
            Ok(who) => {
                span::asked_by(&who);
                api.admitted((Caller { who, request_id }, route), request).await
            }
            Err(error) => error.into_response(),
        }
    };
    let mut response = answering.instrument(span.clone()).await;
    span::answered(&span, response.status());
    let headers = response.headers_mut();
    if let Ok(header) = header {
        headers.insert(REQUEST_ID, header);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Checks a request of this connection, and returns the client.
fn admit((app, connection): (&App, &Connection), request: &Request) -> Result<Who, ControlError> {
    let who = connection.who.clone();
    if let Who::Process { uid, .. } = who
        && uid != 0
        && uid != rustix::process::geteuid().as_raw()
    {
        let text = format!(
            "this host does not accept requests from user {uid}: send them as the user that runs the host"
        );
        return Err(ControlError::new(Code::ForeignUser, text));
    }
    match &connection.origin {
        Ok(Origin::Elsewhere) => {}
        Ok(Origin::Plugin) => {
            let text = "this host does not accept requests from processes of its plugins, or from processes that \
                        these processes have started";
            return Err(ControlError::new(Code::OwnPlugin, text));
        }
        Err(error) => {
            let text = format!(
                "this host does not accept requests from processes of its plugins, and cannot check {who}: {error}; send \
                 requests from a process that lives until the answer arrives"
            );
            return Err(ControlError::new(Code::OwnPlugin, text));
        }
    }
    let checks = app.checks.as_ref().filter(|_| matches!(who, Who::Remote(_)));
    let host = own_host(request, checks, connection.local)?;
    check_origin(request.headers(), checks, host)?;
    if let Some(checks) = checks.filter(|_| !is_open(request.uri().path())) {
        token::check(request.headers(), &checks.token)?;
    }
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > MAX_BODY as u64) {
        return Err(too_large_body());
    }
    Ok(who)
}

/// Whether this path needs no token: the path of a health check or of the page's files, which contain no data of the
/// host.
pub(super) fn is_open(path: &str) -> bool {
    let below = path.strip_prefix(routes::PREFIX).unwrap_or(path);
    path == "/" || path.starts_with("/assets/") || below.starts_with("/health/")
}

/// The `Host` of the request, if it names this host.
fn own_host<'a>(
    request: &'a Request,
    checks: Option<&TcpChecks>,
    local: Option<IpAddr>,
) -> Result<&'a str, ControlError> {
    let mut named = request.headers().get_all(HOST).iter();
    let host = match (named.next(), named.next(), request.uri().authority()) {
        (Some(host), None, None) => host.to_str().unwrap_or_default(),
        (None, None, Some(authority)) => authority.as_str(),
        _ => "",
    };
    let foreign = || {
        let host: String = host.chars().take(100).collect();
        let text = format!(
            "{host:?} is not a name of this host: use its address, or allow the name with `--allow-host`"
        );
        ControlError::new(Code::ForeignHost, text)
    };
    let authority: Authority = host.parse().map_err(|_| foreign())?;
    if host.contains('@') {
        return Err(foreign());
    }
    let name = authority.host().trim_matches(['[', ']']);
    let ip: Option<IpAddr> = name.parse().ok();
    let known = name.eq_ignore_ascii_case("localhost")
        || ip.is_some_and(|ip| ip.is_loopback() || Some(ip) == local)
        || checks.is_some_and(|checks| {
            checks.allowed_hosts.iter().any(|it| name_in(it).eq_ignore_ascii_case(name))
        });
    if known { Ok(host) } else { Err(foreign()) }
}

/// The name in an allowed origin, or the allowed name itself.
fn name_in(allowed: &str) -> &str {
    let Some((_, authority)) = allowed.split_once("://") else { return allowed };
    authority.split_once(':').map_or(authority, |(name, _)| name)
}

fn check_origin(headers: &HeaderMap, checks: Option<&TcpChecks>, host: &str) -> Result<(), ControlError> {
    for origin in headers.get_all(ORIGIN) {
        let own = format!("{}://{host}", checks.map_or("http", |checks| checks.scheme));
        let allowed = checks.iter().flat_map(|checks| &checks.allowed_hosts).filter(|it| it.contains("://"));
        let is_own =
            |origin: &str| [&own].into_iter().chain(allowed).any(|it| origin.eq_ignore_ascii_case(it));
        if !origin.to_str().is_ok_and(is_own) {
            let text = format!(
                "a page of another site may not use this host: only a page of {own:?} may; if it is this host's own page, opened through a \
                 proxy, allow its address as the browser shows it: `--allow-host https://NAME`"
            );
            return Err(ControlError::new(Code::ForeignOrigin, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn checks() -> TcpChecks {
        TcpChecks {
            token: "t".repeat(43),
            allowed_hosts: vec!["box.example".into(), "https://proxied.example".into()],
            scheme: "http",
        }
    }

    fn host(name: &str) -> Result<String, ControlError> {
        let request = Request::builder().header(HOST, name).body(Body::empty()).unwrap();
        own_host(&request, Some(&checks()), "10.1.2.3".parse().ok()).map(str::to_owned)
    }

    #[test]
    fn own_host_accepts_only_names_of_this_machine_and_allowed_names() {
        for own in [
            "localhost:7777",
            "127.0.0.1:7777",
            "[::1]:7777",
            "10.1.2.3:7777",
            "BOX.example:7777",
            "localhost",
            "localhost:80",
            "proxied.example",
        ] {
            assert!(host(own).is_ok(), "{own}");
        }
        for foreign in [
            "evil.example:7777",
            "localhost.evil.example:7777",
            "10.1.2.4:7777",
            "evil.example:443",
            "",
            "localhost@evil.example:7777",
            "evil.example@localhost:7777",
            "a b",
        ] {
            assert!(host(foreign).is_err(), "{foreign}");
        }
        let two = Request::builder().header(HOST, "localhost").header(HOST, "evil.example");
        assert!(own_host(&two.body(Body::empty()).unwrap(), None, None).is_err());
    }

    #[test]
    fn an_origin_other_than_this_host_or_an_allowed_origin_is_rejected() {
        let check = |origin: &str| {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_str(origin).unwrap())]);
            check_origin(&headers, Some(&checks()), "localhost:7777")
        };
        assert!(check("http://localhost:7777").is_ok());
        assert!(check("https://proxied.example").is_ok());
        for foreign in [
            "https://localhost:7777",
            "http://localhost",
            "http://localhost:3000",
            "http://proxied.example",
            "https://proxied.example:444",
            "https://box.example",
            "http://evil.example",
            "null",
            "",
        ] {
            assert!(check(foreign).is_err(), "{foreign}");
        }
        assert!(check_origin(&HeaderMap::new(), Some(&checks()), "localhost").is_ok());
    }
}
