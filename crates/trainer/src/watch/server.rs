//! What the browser talks to.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clap::ValueEnum;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::cli::Direction;
use crate::run_dir::RunDir;
use crate::watch::follower::{Follower, News};
use crate::watch::overview::sample_file;
use crate::watch::page;
use crate::watch::studio::{LONGEST_SIDE, Order, Translated};

/// The most bytes of a picture that is sent.
const MOST_UPLOAD: usize = 32 << 20;
/// How long a picture may take to arrive, and to wait for those before it.
const PATIENCE: Duration = Duration::from_secs(120);
/// News that a page may be behind before it has to ask for everything again.
pub const BACKLOG: usize = 64;
/// The most points of a series that are sent.
const MOST_POINTS: usize = 4000;

/// What the page may do: nothing that is not in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An order, and where its result is waited for.
pub type Job = (Order, oneshot::Sender<Result<Translated>>);

/// What all requests share.
pub struct Shared {
    pub run: RunDir,
    pub follower: Arc<Mutex<Follower>>,
    pub news: broadcast::Sender<News>,
    pub jobs: Sender<Job>,
    /// One picture at a time, from its first byte to its answer.
    pub turn: Semaphore,
    pub bound: SocketAddr,
}

/// A lock, whoever panicked with it: what it guards is replaced as a whole.
pub fn lock(follower: &Mutex<Follower>) -> MutexGuard<'_, Follower> {
    follower.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until the program ends.
///
/// # Errors
/// When the system takes the listener away.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Result<()> {
    let app = Router::new()
        .route("/", get(|| text("text/html", page::served())))
        .route("/page.css", get(|| text("text/css", page::STYLE)))
        .route("/page.js", get(|| text("text/javascript", page::SCRIPT)))
        .route("/events", get(events))
        .route("/series", get(series))
        .route("/samples/{step}", get(sample))
        .route("/translate", post(translate))
        .layer(middleware::from_fn_with_state(shared.clone(), guard))
        .with_state(shared);
    Ok(axum::serve(listener, app).await?)
}

async fn text(kind: &'static str, body: impl Into<Body>) -> Response {
    let kind = HeaderValue::from_str(&format!("{kind}; charset=utf-8"));
    let mut response = Response::new(body.into());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        kind.expect("a type's name is a header's value"),
    );
    response
}

/// Lets through what the page itself asks for, and says what browsers may do with the answer.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let refused = refusal(shared.bound.ip(), request.method(), request.headers());
    let mut response = match refused {
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Why a request is not answered, if so. A page from elsewhere whose name was made to point here (DNS rebinding)
/// sends its own name as the host; one that posts from elsewhere, its own origin.
fn refusal(bound: IpAddr, method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").and_then(|host| host.parse::<Authority>().ok());
    if bound.is_loopback() && !host.as_ref().is_some_and(|host| is_loopback(host.host())) {
        return Some("this server answers to 127.0.0.1 and localhost alone");
    }
    if method == Method::GET || method == Method::HEAD {
        return None;
    }
    let origin = headers.get("origin").map(|_| {
        let origin = text("origin").and_then(|origin| origin.split_once("://"));
        origin.and_then(|(_, authority)| authority.parse::<Authority>().ok())
    });
    let foreign = origin.is_some_and(|origin| origin.is_none() || origin != host);
    let site = text("sec-fetch-site").unwrap_or("same-origin");
    if foreign || !matches!(site, "same-origin" | "none") {
        return Some("this can be asked for from the page itself alone");
    }
    None
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// All news, the overview first.
async fn events(
    State(shared): State<Arc<Shared>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let news = shared.news.subscribe();
    let first = VecDeque::from([lock(&shared.follower).overview()]);
    let stream = stream::unfold((first, news), |(mut first, mut news)| async {
        let next = match first.pop_front() {
            Some(next) => next,
            None => match news.recv().await {
                Ok(next) => next,
                Err(RecvError::Lagged(_)) => News {
                    event: "again",
                    data: String::new(),
                },
                Err(RecvError::Closed) => return None,
            },
        };
        let event = Event::default().event(next.event).data(next.data);
        Some((Ok(event), (first, news)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// Which steps, in how many points.
#[derive(Deserialize)]
struct Range {
    from: Option<u64>,
    to: Option<u64>,
    points: Option<usize>,
}

async fn series(State(shared): State<Arc<Shared>>, Query(range): Query<Range>) -> Response {
    let steps = range.from.unwrap_or(0)..=range.to.unwrap_or(u64::MAX);
    let points = range.points.unwrap_or(1000).clamp(1, MOST_POINTS);
    let json = spawn_blocking(move || lock(&shared.follower).series(steps, points)).await;
    match json {
        Ok(json) => text("application/json", json).await,
        Err(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "reading the run failed"),
    }
}

/// A sample sheet: a number, and so no path.
async fn sample(State(shared): State<Arc<Shared>>, Path(step): Path<u64>) -> Response {
    let path = sample_file(&shared.run, step);
    match spawn_blocking(move || std::fs::read(path)).await {
        Ok(Ok(png)) => {
            let kind = (header::CONTENT_TYPE, "image/png");
            // Its address changes when it does.
            let cache = (header::CACHE_CONTROL, "private, max-age=86400, immutable");
            ([kind, cache], png).into_response()
        }
        _ => failure(StatusCode::NOT_FOUND, "there is no such sample sheet"),
    }
}

/// How a picture is to be translated.
#[derive(Deserialize)]
struct Wish {
    direction: String,
    side: Option<u32>,
}

async fn translate(
    State(shared): State<Arc<Shared>>,
    Query(wish): Query<Wish>,
    request: Request,
) -> Response {
    let Ok(direction) = Direction::from_str(&wish.direction, false) else {
        return failure(StatusCode::BAD_REQUEST, "the direction is AtoB or BtoA");
    };
    if wish
        .side
        .is_some_and(|side| !(16..=LONGEST_SIDE).contains(&side))
    {
        return failure(StatusCode::BAD_REQUEST, "the side is 16 to 2048 pixels");
    }
    let Ok(Ok(_turn)) = timeout(PATIENCE, shared.turn.acquire()).await else {
        return failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "other pictures are being translated; try again in a moment",
        );
    };
    let picture = match timeout(PATIENCE, to_bytes(request.into_body(), MOST_UPLOAD)).await {
        Ok(Ok(picture)) => picture.to_vec(),
        Ok(Err(_)) => {
            let what =
                "the picture did not arrive, or its file is larger than 32 MiB; shrink it first";
            return failure(StatusCode::PAYLOAD_TOO_LARGE, what);
        }
        Err(_) => {
            return failure(
                StatusCode::REQUEST_TIMEOUT,
                "the picture took too long to arrive",
            );
        }
    };
    let order = Order {
        picture,
        direction,
        side: wish.side,
    };
    let (answer, result) = oneshot::channel();
    let sent = shared.jobs.send((order, answer));
    match (sent, result.await) {
        (Ok(()), Ok(Ok(translated))) => {
            text("application/json", json!(translated).to_string()).await
        }
        (Ok(()), Ok(Err(error))) => {
            failure(StatusCode::UNPROCESSABLE_ENTITY, &format!("{error:#}"))
        }
        _ => failure(StatusCode::INTERNAL_SERVER_ERROR, "the server is ending"),
    }
}

/// An error in words.
fn failure(status: StatusCode, what: &str) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, json!({ "error": what }).to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_origins_from_elsewhere_are_refused() {
        let (here, everywhere) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0]));
        let refused = |bound, method: &Method, given: &[(&'static str, &'static str)]| {
            let given = given.iter();
            let given = given.map(|&(name, value)| {
                let name = HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            });
            refusal(bound, method, &given.collect()).is_some()
        };
        for (host, expected) in [
            ("127.0.0.1:6116", false),
            ("LOCALHOST", false),
            ("[::1]:80", false),
            ("evil.example:6116", true),
            ("127.0.0.1.evil.example", true),
            ("localhost.evil.example", true),
            ("192.168.1.5", true),
            ("", true),
            ("a b", true),
        ] {
            assert_eq!(
                refused(here, &Method::GET, &[("host", host)]),
                expected,
                "{host}"
            );
        }
        assert!(refused(here, &Method::GET, &[]));
        assert!(!refused(
            everywhere,
            &Method::GET,
            &[("host", "my.machine:6116")]
        ));
        let host = ("host", "localhost:6116");
        for (others, expected) in [
            (&[][..], false),
            (&[("origin", "http://localhost:6116")], false),
            (&[("origin", "http://localhost:80")], true),
            (&[("origin", "http://evil.example")], true),
            (&[("origin", "null")], true),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site")], true),
        ] {
            let given = [&[host], others].concat();
            assert_eq!(refused(here, &Method::POST, &given), expected, "{others:?}");
        }
        let foreign = [("host", "my.machine"), ("origin", "http://evil.example")];
        assert!(refused(everywhere, &Method::POST, &foreign));
    }
}
