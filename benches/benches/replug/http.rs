//! The cost of calls over HTTP: `/plugin/execute` under load, while the plugin is reloaded repeatedly, compared with a
//! bare handler that gives the same answers without a host.

use anyhow::{Context, Result, ensure};
use axum::{Json, Router, routing::post};
use replug::{
    Host,
    control::{Control, ControlConfig, HttpConfig},
};
use replug_benches::{Section, Table, Target, quantile};
use replug_tests::{
    load::{Answers, Load},
    sandbox::{Sandbox, Std},
};
use serde_json::{Value, json};
use std::{
    env,
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};

const ID: &str = "dev.replug.hello-world";
const PATH: &str = "/api/v1/plugin/execute";
const CONNECTIONS: usize = 16;
const RELOAD_EVERY: Duration = Duration::from_millis(200);
/// How many seconds each contender is under load in total, unless [`SECONDS_VARIABLE`] sets another number.
const SECONDS: u64 = 30;
const SECONDS_VARIABLE: &str = "REPLUG_BENCH_HTTP_SECONDS";
const TURNS: u32 = 10;

/// Measures the plugin `hello-world`, in process.
pub(crate) fn measure() -> Result<Section> {
    let seconds = env::var(SECONDS_VARIABLE).ok().map_or(Ok(SECONDS), |text| text.parse());
    let turn = Duration::from_secs(seconds.with_context(|| SECONDS_VARIABLE.to_owned())?) / TURNS;
    let plugin = Versions::build()?;
    let run = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir()?;
    let http = HttpConfig::at(([127, 0, 0, 1], 0).into()).token_file(run.path().join("token"));
    let control = Control::new(ControlConfig::new().socket(run.path().join("host.sock")).http(http));
    let listening = control.listening();
    let host = Host::builder().plugins(plugin.folder.path()).attach(control).build().wait()?;
    let url = listening.http().context("the host serves no HTTP")?;
    let address = url.strip_prefix("http://").context("it is not HTTP")?.parse()?;
    let token = fs::read_to_string(&listening.token().context("there is no token")?.path)?;
    let (bare, _server) = bare()?;

    let [mut alone, mut reloaded, mut without] = [(); 3].map(|()| Answers::default());
    let mut reloads = 0;
    // The first round fills the caches, and does not count.
    for round in 0..=TURNS {
        let bare = under_load(bare, token.trim(), turn, || Ok(()))?;
        let calm = under_load(address, token.trim(), turn, || Ok(()))?;
        let mut done = 0;
        let busy = under_load(address, token.trim(), turn, || {
            done += 1;
            plugin.put(done)?;
            host.reload(ID).wait()?;
            Ok(())
        })?;
        if round > 0 {
            without.add(bare);
            alone.add(calm);
            reloaded.add(busy);
            reloads += done;
        }
    }
    host.shutdown().wait();
    let all = [
        ("bare axum handler", &without),
        ("`/plugin/execute`", &alone),
        ("the same, with a reload every 200 ms", &reloaded),
    ];
    Ok(section(all, reloads))
}

fn section(all: [(&str, &Answers); 3], reloads: usize) -> Section {
    let [(_, bare), (_, alone), (_, reloaded)] = all;
    let row = |(name, answers): (&str, &Answers)| {
        let latency = |share| format!("{:.0}", quantile(&answers.latencies_us, share));
        let cells = [format!("{:.0}", answers.per_second()), latency(0.5), latency(0.99)];
        [name.to_owned()].into_iter().chain(cells).chain([answers.failed.to_string()]).collect()
    };
    let failed = alone.failed + reloaded.failed;
    let first = reloaded.failure.as_ref().or(alone.failure.as_ref());
    let said = first.map(|failure| format!(", such as: {}", failure.replace(['\r', '\n'], " ")));
    let ratio = reloaded.per_second() / bare.per_second();
    Section {
        title: "Calls over HTTP",
        tables: vec![Table {
            columns: vec![
                "16 connections that are kept open",
                "requests a second",
                "p50 us",
                "p99 us",
                "failed",
            ],
            rows: all.map(row).into(),
        }],
        targets: vec![
            Target {
                what: "failed requests",
                bound: "none",
                measured: format!(
                    "{failed} of {}, {reloads} reloads{}",
                    alone.right + reloaded.right + failed,
                    said.unwrap_or_default()
                ),
                met: failed == 0 && reloads > 0,
                ..Target::default()
            },
            Target {
                what: "throughput with reloads, relative to the bare handler",
                bound: "at least 0.8 times",
                measured: format!(
                    "{ratio:.2} times (without reloads {:.2})",
                    alone.per_second() / bare.per_second()
                ),
                met: ratio >= 0.8,
                ours: Some(format!("{:.0} a second", reloaded.per_second())),
                floor: Some(format!("{:.0} a second (bare handler)", bare.per_second())),
                ..Target::default()
            },
        ],
        charts: Vec::new(),
    }
}

/// Sends requests to a server for the duration of `turn`, and calls `meanwhile` every 200 ms.
fn under_load(
    address: SocketAddr,
    token: &str,
    turn: Duration,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<Answers> {
    let body = json!({ "id": ID, "method": "greet", "payload": "World" }).to_string();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let load = Load { address, connections: CONNECTIONS, request, expected: "World!\"".into() };
    let stop = Arc::new(AtomicBool::new(false));
    let asking = {
        let stop = stop.clone();
        thread::spawn(move || load.run(&stop))
    };
    let began = Instant::now();
    let mut next = began;
    let done = loop {
        next += RELOAD_EVERY;
        if next > began + turn {
            thread::sleep((began + turn).saturating_duration_since(Instant::now()));
            break Ok(());
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if let Err(error) = meanwhile() {
            break Err(error);
        }
    };
    stop.store(true, Ordering::Relaxed);
    let answers = asking.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
    done?;
    Ok(answers)
}

/// Serves the same path without a host: reads the request, greets, and writes the same form of answer.
fn bare() -> Result<(SocketAddr, Runtime)> {
    let greet = async |Json(call): Json<Value>| {
        let result = format!("Hello, {}!", call["payload"].as_str().unwrap_or_default());
        let data = json!({ "id": call["id"], "method": call["method"], "generation": 1, "result": result });
        Json(json!({ "code": 0, "data": data, "request_id": "0-1" }))
    };
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move { axum::serve(listener, Router::new().route(PATH, post(greet))).await });
    Ok((address, runtime))
}

/// Two versions of the plugin, built once, and a plugins folder in which they replace each other.
struct Versions {
    folder: TempDir,
    built: [Vec<u8>; 2],
}

impl Versions {
    fn build() -> Result<Self> {
        let sandbox = Sandbox::fresh("http")?;
        let package = sandbox.add_released("plugins/hello-world")?;
        let first = fs::read(sandbox.build(&package, Std::Shared)?)?;
        let source = package.join("src/lib.rs");
        let text = fs::read_to_string(&source)?;
        ensure!(
            text.contains("\"Hello, {name}!\""),
            "{} does not contain the expected greeting",
            source.display()
        );
        fs::write(&source, text.replace("\"Hello, {name}!\"", "\"Hello again, {name}!\""))?;
        let second = fs::read(sandbox.build(&package, Std::Shared)?)?;
        let folder = tempfile::tempdir()?;
        fs::write(
            folder.path().join("plugin.toml"),
            format!("id = \"{ID}\"\nmode = \"in-process\"\nbinary = \"plugin.so\"\n"),
        )?;
        let versions = Self { folder, built: [first, second] };
        versions.put(0)?;
        Ok(versions)
    }

    /// Installs one of the two versions, which alternate with `number`.
    fn put(&self, number: usize) -> Result<()> {
        let folder: &Path = self.folder.path();
        let (temporary, binary): (PathBuf, PathBuf) = (folder.join("plugin.tmp"), folder.join("plugin.so"));
        fs::write(&temporary, &self.built[number % 2])?;
        Ok(fs::rename(temporary, binary)?)
    }
}
