//! `replug doctor`: checks this machine for tools and limits, and prints the findings.

mod examine;

use super::{
    error::CliError,
    table,
    terminal::{self, BAD, DIM, GOOD, NAME, WARN},
};
use clap::Args;
use examine::{Finding, Status, examine};
use replug_engine::preflight::Budget;

/// Check this machine for missing tools and limits
#[derive(Debug, Args)]
#[command(after_help = "Exit status 1 if something that replug requires is missing.")]
pub(super) struct Doctor {
    /// Print the findings as one JSON array
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Result<(), CliError> {
        let findings = examine(&Budget::default());
        if self.json {
            terminal::print_json(&findings)?;
        } else {
            terminal::print(&report(&findings, table::line_width()))?;
        }
        match findings.iter().any(|finding| finding.status == Status::Fail) {
            true => Err(CliError::Printed),
            false => Ok(()),
        }
    }
}

/// The findings as text in lines of at most `line` columns.
fn report(findings: &[Finding], line: usize) -> String {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    // The mark and a space, the name, and two spaces.
    let indent = 2 + width + 2;
    let mut lines = Vec::new();
    for finding in findings {
        let (mark, style) = match finding.status {
            Status::Ok => ('✓', GOOD),
            Status::Warn => ('!', WARN),
            Status::Fail => ('✗', BAD),
        };
        let name = finding.name;
        let hanging = |text: &str, indent: usize| {
            table::wrapped(text, line - indent).join(&format!("\n{:indent$}", ""))
        };
        let found = hanging(&finding.found, indent);
        lines.push(format!("{style}{mark}{style:#} {NAME}{name:width$}{NAME:#}  {found}"));
        let more = [("costs", &finding.cost), ("to do", &finding.remedy)];
        for (word, text) in more.iter().filter_map(|(word, text)| Some((word, text.as_ref()?))) {
            let text = hanging(text, indent + 7);
            lines.push(format!("{:indent$}{DIM}{word}{DIM:#}  {text}", ""));
        }
    }
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    lines.push(String::new());
    lines.push(match (count(Status::Fail), count(Status::Warn)) {
        (0, 0) => format!("{GOOD}nothing is missing{GOOD:#}"),
        (0, 1) => format!("{WARN}replug works; one thing could be better{WARN:#}"),
        (0, many) => format!("{WARN}replug works; {many} things could be better{WARN:#}"),
        (fails, _) => format!("{BAD}replug does not work here: {fails} missing{BAD:#}"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_prints_its_cost_and_its_remedy() {
        let finding =
            |name, status| Finding { name, status, found: "found".into(), cost: None, remedy: None };
        let slow = Finding {
            cost: Some("time".into()),
            remedy: Some("install lld".into()),
            ..finding("linker", Status::Warn)
        };
        let text = report(&[finding("cargo", Status::Ok), slow], 80);
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "✓ cargo   found\n! linker  found\n          costs  time\n          to do  install lld\n\nreplug works; one thing could be better"
        );
    }

    #[test]
    fn a_long_text_wraps_between_words_and_is_indented() {
        let found = "word ".repeat(40);
        let finding = Finding { name: "cargo", status: Status::Ok, found, cost: None, remedy: None };
        let text = anstream::adapter::strip_str(&report(&[finding], 60)).to_string();
        let below: Vec<_> = text.lines().skip(1).take_while(|line| !line.is_empty()).collect();
        assert!(below.len() > 1, "{text}");
        assert!(below.iter().all(|line| line.starts_with("         word") && line.len() <= 60), "{text}");
    }
}
