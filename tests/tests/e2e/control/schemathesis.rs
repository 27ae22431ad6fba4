//! The independent program schemathesis checks that the host's answers match `/openapi.json`.

use super::{listen, unix, with_calculator};
use replug_tests::{artifact::example, schemathesis::Schemathesis};
use serde_json::json;
use std::fs;

#[test]
fn the_host_conforms_to_its_openapi_description_under_schemathesis() {
    let Some(schemathesis) = Schemathesis::find() else { return };
    let mut lab = with_calculator();
    lab.neighbour("steady", "id = \"dev.test.steady\"\nbinary = \"plugin.so\"\n", example("calculator"));
    listen(&mut lab);
    let listening = lab.listening();
    let token = fs::read_to_string(&listening.token().unwrap().path).unwrap();
    let at = (listening.http().unwrap(), token.trim());
    let verdict = schemathesis.judge(lab.dir(), include_str!("schemathesis.toml"), at);
    let operations = unix(&lab).get("/openapi.json").json()["paths"].as_object().unwrap().len();
    let call = json!({ "id": "dev.test.steady", "method": "add", "args": [1, 2] });
    assert_eq!(
        unix(&lab).post("/api/v1/plugin/execute", &call).data()["result"],
        3.0,
        "the plugin still serves"
    );
    // The lab is dropped before the assertion, because a lab that is dropped in a panic prints all events. Here, there
    // are thousands.
    drop(lab);
    let said = verdict.unwrap_or_else(|said| panic!("schemathesis reports problems:\n{said}"));
    assert!(
        said.contains(&format!("Tested: {operations}\n")),
        "schemathesis has not tested all {operations} operations:\n{said}"
    );
}
