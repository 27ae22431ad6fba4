//! Tests the calculator without a host.

use super::*;

fn calculator(history_limit: usize) -> Basic {
    let context = Context::new("dev.replug.calculator", 7, std::env::temp_dir());
    Basic::init(&context, CalcConfig { history_limit }).expect("init")
}

fn operations(calculator: &Basic) -> Vec<String> {
    calculator.history().into_iter().map(|entry| entry.operation).collect()
}

#[test]
fn each_operation_returns_its_result() {
    let calculator = calculator(10);
    assert_eq!(calculator.add(10.0, 5.0), 15.0);
    assert_eq!(calculator.subtract(10.0, 5.0), 5.0);
    assert_eq!(calculator.multiply(10.0, 5.0), 50.0);
    assert_eq!(calculator.divide(10.0, 5.0), Ok(2.0));
    assert_eq!(calculator.sqrt(16.0), Ok(4.0));
    assert_eq!(calculator.power(2.0, 10.0), Ok(1024.0));
    assert_eq!(calculator.factorial(0), Ok(1));
    assert_eq!(calculator.factorial(20), Ok(2_432_902_008_176_640_000));
}

#[test]
fn an_error_has_a_code_a_message_and_the_operands() {
    let calculator = calculator(10);
    let refused = [
        (
            calculator.divide(1.0, 0.0),
            CalcError::DIVIDE_BY_ZERO,
            "divide by zero: 1 / 0 has no result",
            "a=1 b=0",
        ),
        (
            calculator.sqrt(-4.0),
            CalcError::NEGATIVE_SQRT,
            "negative sqrt: -4 has no real square root",
            "x=-4",
        ),
        (
            calculator.factorial(21).map(|n| n as f64),
            CalcError::FACTORIAL_OVERFLOW,
            "factorial overflow: 21! does not fit into 64 bits; 20! is the largest that does",
            "n=21",
        ),
        (
            calculator.power(10.0, 400.0),
            CalcError::NOT_FINITE,
            "not finite: 10 to the power of 400 has no finite result",
            "base=10 exponent=400",
        ),
    ];
    for (result, code, message, details) in refused {
        let error = result.expect_err(message);
        let said: Vec<String> = error.details.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            (error.code.as_str(), error.message.as_str(), said.join(" ")),
            (code, message, details.into())
        );
    }
    assert_eq!(calculator.divide(f64::MAX, 0.1).expect_err("too large").code, CalcError::NOT_FINITE);
    assert_eq!(calculator.sqrt(f64::NAN).expect_err("no number").code, CalcError::NOT_FINITE);
    assert_eq!(calculator.factorial(u64::MAX).expect_err("too large").code, CalcError::FACTORIAL_OVERFLOW);
    assert!(calculator.history().is_empty(), "a calculation without a result is not remembered");
}

#[test]
fn the_history_drops_the_oldest_entries_beyond_its_limit() {
    let calculator = calculator(2);
    calculator.add(1.0, 2.0);
    calculator.multiply(3.0, 4.0);
    calculator.subtract(5.0, 6.0);
    let entry = Entry { operation: "subtract".into(), operands: vec![5.0, 6.0], result: -1.0 };
    assert_eq!(calculator.history().last(), Some(&entry));
    assert_eq!(operations(&calculator), ["multiply", "subtract"]);
    assert_eq!(calculator.status(), CalcStatus { generation: 7, remembered: 2, history_limit: 2 });
    calculator.on_config(CalcConfig { history_limit: 1 }).expect("takes effect immediately");
    assert_eq!(operations(&calculator), ["subtract"]);
    assert_eq!(calculator.health(), Health::ok().with_message("history: 1 of 1"));
}

#[test]
fn the_history_survives_a_reload_with_a_smaller_limit() {
    let old = calculator(3);
    old.add(1.0, 2.0);
    old.multiply(f64::MAX, 2.0);
    old.subtract(5.0, 6.0);
    let saved = SavedState::encode(&old.save().expect("save")).expect("encode");
    let new = calculator(2);
    new.restore(Basic::STATE_VERSION, saved).expect("restore");
    assert_eq!(new.history(), old.history()[1..]);
}

#[test]
fn a_state_of_a_later_version_is_rejected() {
    let saved = SavedState::encode(&"something else").expect("encode");
    let error = calculator(2).restore(2, saved).expect_err("unknown version");
    assert_eq!(error.code, "unknown_state_version");
}
