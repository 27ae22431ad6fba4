//! Tests that reading the JSON of an answer and writing it again gives the same JSON.

use super::*;
use crate::{
    command::{Command, Kind, Request},
    http::envelope::Envelope,
};
use serde::de::DeserializeOwned;
use std::fmt;

const PLUGIN: &str = r#"{"id":"dev.test.one","name":"One","version":"0.1.0","description":"For tests.","type":"filter","mode":"auto","runs_in":"process","status":"running","detail":"in a child process","generation":3,"digest":"ab","process_id":42,"is_exited":false,"uptime":12.5,"calls":7,"errors":2,"failed":{"error":1,"panicked":0,"crashed":1,"timeout":0,"lost":0},"in_flight":1,"restarts":1,"memory":1572864,"cpu":0.25,"open_files":9,"lane":"socket","lane_reason":"no-memory","limits":{"bounds":[{"of":"open_files","value":64,"by":"rlimit"}],"cgroup":"/sys/fs/cgroup/x","lacking":["no cgroup"]},"retired":{"ended":2},"interfaces":["One"],"path":"/srv/plugins/one"}"#;
const CHANGED: &str = r#"{"id":"dev.test.one","generation":null,"status":"source_only"}"#;

fn read<A: DeserializeOwned>(text: &str) -> A {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Asserts that the answer in `text` is the same after reading and writing, and that reading ignores unknown fields,
/// which a newer host may send.
fn round_trip<P, A>(_: fn(P) -> Request<A>, text: &str)
where
    A: Serialize + DeserializeOwned + fmt::Debug,
{
    let written = |answer: &A| serde_json::to_string(answer).unwrap();
    assert_eq!(written(&read(text)), text);
    let more = format!("{},\"added_later\":[1]}}", text.strip_suffix('}').unwrap());
    assert_eq!(written(&read(&more)), text);
    let enveloped = format!(r#"{{"code":0,"data":{more},"request_id":"1-1","added_later":1}}"#);
    assert_eq!(written(&read::<Envelope<A>>(&enveloped).data), text);
}

#[test]
fn every_answer_round_trips_and_reading_ignores_unknown_fields() {
    for kind in Kind::ALL {
        match kind {
            Kind::List => round_trip(
                Command::list,
                &format!(
                    r#"{{"registered":[{PLUGIN}],"unregistered":[],"total":1,"page_no":1,"page_size":100,"configuration":{{"refused":"no","restart_needed":["state_dir"]}}}}"#
                ),
            ),
            Kind::Get => round_trip(Command::get, PLUGIN),
            Kind::Methods => round_trip(
                Command::methods,
                r#"{"id":"dev.test.one","generation":1,"interfaces":[{"name":"One","docs":"","methods":[{"name":"add","docs":"Adds.","signature":"fn add(&self, a: f64) -> f64","params":[{"name":"a","rust":"f64","type":{"number":"f64"}}],"returns":{"number":"f64"},"error":null}],"types":{}}]}"#,
            ),
            Kind::Generations => round_trip(
                Command::generations,
                r#"{"id":"dev.test.one","generation":1,"generations":[{"generation":1,"digest":"ab","is_serving":true}]}"#,
            ),
            Kind::Logs => round_trip(
                Command::logs,
                r#"{"id":null,"logs":[{"at":"2026-01-01T00:00:00.000Z","plugin":"dev.test.one","generation":1,"event":"log","level":"INFO","target":"t","message":"m","fields":{"a":18446744073709551615,"b":0.1}}]}"#,
            ),
            // The number is larger than any integer type of serde_json.
            Kind::Execute => round_trip(
                Command::execute,
                r#"{"id":"dev.test.one","method":"add","generation":1,"result":{"b":340282366920938463463374607431768211455,"a":15.0}}"#,
            ),
            Kind::Register => round_trip(Command::register, CHANGED),
            Kind::Unregister => round_trip(Command::unregister, CHANGED),
            Kind::Reload => round_trip(Command::reload, CHANGED),
            Kind::Rollback => round_trip(Command::rollback, CHANGED),
            Kind::Start => round_trip(Command::start, CHANGED),
            Kind::Stop => round_trip(Command::stop, CHANGED),
            Kind::Configure => round_trip(
                Command::config,
                r#"{"id":"dev.test.one","how":"live","generation":5,"holds":"until the host restarts"}"#,
            ),
        }
    }
}

#[test]
fn an_answer_of_an_older_host_is_read_with_defaults() {
    let mut plugin: Value = read(PLUGIN);
    for later in ["failed", "memory", "cpu", "open_files", "lane", "lane_reason", "limits", "retired"] {
        plugin.as_object_mut().unwrap().remove(later).unwrap();
    }
    let page =
        json!({ "registered": [plugin], "unregistered": [], "total": 1, "page_no": 1, "page_size": 100 });
    let page: Plugins = read(&page.to_string());
    let plugin = &page.registered[0];
    assert_eq!((plugin.failed, plugin.memory, &plugin.limits), (Failures::default(), None, &None));
    assert!(plugin.retired.is_empty());
    assert!(page.configuration.refused.is_none() && page.configuration.restart_needed.is_empty());
}
