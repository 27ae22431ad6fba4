//! The routes of the page: static files, which are part of this program, with headers that isolate the page.
//!
//! The files need no token and contain no secrets. Their scripts request the data that they show, like any other
//! client.

use super::App;
use axum::{
    Router,
    http::{
        HeaderName, HeaderValue,
        header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
    },
    response::IntoResponse,
    routing::get,
};
use std::sync::Arc;

/// The content security policy of the page. The page can use only scripts and styles of this host, and send requests
/// only to this host. Scripts cannot turn text into markup (`require-trusted-types-for`). No other page can embed the
/// page in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the page.
struct Asset {
    path: &'static str,
    media: &'static str,
    text: &'static str,
}

macro_rules! assets {
    ($($name:literal as $path:literal: $media:expr,)*) => {
        &[$(Asset { path: $path, media: $media, text: include_str!(concat!("../page/", $name)) }),*]
    };
}

const ASSETS: &[Asset] = assets! {
    "index.html" as "/": HTML,
    "style.css" as "/assets/style.css": CSS,
    "icon.svg" as "/assets/icon.svg": SVG,
    "app.js" as "/assets/app.js": JS,
    "ansi.js" as "/assets/ansi.js": JS,
    "api.js" as "/assets/api.js": JS,
    "dom.js" as "/assets/dom.js": JS,
    "finder.js" as "/assets/finder.js": JS,
    "form.js" as "/assets/form.js": JS,
    "inputs.js" as "/assets/inputs.js": JS,
    "logs.js" as "/assets/logs.js": JS,
    "methods.js" as "/assets/methods.js": JS,
    "metrics.js" as "/assets/metrics.js": JS,
    "model.js" as "/assets/model.js": JS,
    "plugin.js" as "/assets/plugin.js": JS,
    "problems.js" as "/assets/problems.js": JS,
    "spark.js" as "/assets/spark.js": JS,
    "stream.js" as "/assets/stream.js": JS,
    "text.js" as "/assets/text.js": JS,
    "timeline.js" as "/assets/timeline.js": JS,
    "types.js" as "/assets/types.js": JS,
    "words.js" as "/assets/words.js": JS,
};

/// The paths of the page. They are for people, so `/openapi.json` does not contain them.
pub(super) fn routes() -> Router<Arc<App>> {
    ASSETS.iter().fold(Router::new(), |router, asset| router.route(asset.path, get(async || serve(asset))))
}

fn serve(asset: &'static Asset) -> impl IntoResponse {
    let headers: [(HeaderName, HeaderValue); 4] = [
        (CONTENT_TYPE, HeaderValue::from_static(asset.media)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    ];
    (headers, asset.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use replug_engine::EventKind;

    #[test]
    fn every_kind_of_event_has_words_on_the_page() {
        let words = ASSETS.iter().find(|asset| asset.path == "/assets/words.js").unwrap().text;
        for kind in EventKind::NAMES {
            assert!(words.contains(&format!("\n  {kind}: (")), "words.js has no line for `{kind}`");
        }
    }

    #[test]
    fn every_file_that_another_file_refers_to_exists() {
        for asset in ASSETS {
            for named in asset.text.split(['"', '\'']) {
                let path = match named.strip_prefix("./") {
                    Some(module) => format!("/assets/{module}"),
                    None if named.starts_with("/assets/") => named.to_owned(),
                    None => continue,
                };
                assert!(ASSETS.iter().any(|asset| asset.path == path), "{} names {path}", asset.path);
            }
        }
    }
}
