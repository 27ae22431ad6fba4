//! The plugin of the test in `forms.rs`. Its method takes a value of every type that a form supports, and returns its
//! arguments. Its documentation contains markup that would change the title of a page that does not escape it.

use replug_api::{prelude::*, serde_json::Value};
use std::{
    collections::BTreeMap,
    num::NonZeroU8,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// Takes orders in `JSON` and <img src=x onerror=document.title=666>.
#[replug_api::interface]
pub trait Orders {
    /// Returns its arguments, `<script>document.title=666</script>` and <img src=x onerror=document.title=666> too.
    fn order(&self, order: Order, prices: Vec<f64>) -> (Order, Vec<f64>);
}

/// An order, <img src=x onerror=document.title=666>.
#[replug_api::data]
#[derive(Clone, Debug)]
pub struct Order {
    pub to: String,
    pub gift: bool,
    pub pieces: u8,
    pub account: u64,
    pub note: Option<String>,
    pub address: Address,
    pub payment: Payment,
    pub labels: BTreeMap<String, i32>,
    pub steps: Vec<Step>,
    pub within: Duration,
    pub size: (f32, char),
    pub tree: Tree,
    #[serde(rename = "<img src=x onerror=document.title=666>")]
    pub speed: Speed,
    pub fallback: Option<Address>,
    pub outcome: Result<u16, String>,
    pub weight: Grams,
    pub folder: PathBuf,
    pub serial: u128,
    pub copies: NonZeroU8,
    pub since: SystemTime,
    pub extra: Value,
}

/// An address.
#[replug_api::data]
#[derive(Clone, Debug)]
pub struct Address {
    pub street: String,
    pub number: u16,
}

/// A payment method.
#[replug_api::data]
#[derive(Clone, Debug)]
pub enum Payment {
    Voucher(String),
    Card { number: u64, valid: [u8; 2] },
    Split(f64, f64),
    Cash,
}

/// An action.
#[replug_api::data]
#[derive(Clone, Debug)]
pub struct Step {
    pub what: String,
}

/// A recursive type.
#[replug_api::data]
#[derive(Clone, Debug)]
pub struct Tree {
    pub name: String,
    pub children: Vec<Tree>,
}

/// A type that is serialized like its content.
#[replug_api::data]
#[derive(Clone, Debug)]
pub struct Grams(pub i16);

/// A shipping speed.
#[replug_api::data]
#[derive(Clone, Debug)]
pub enum Speed {
    #[serde(rename = "<script>document.title=666</script>")]
    Slow,
    #[serde(rename = "<img src=x onerror=document.title=666>")]
    Fast,
}

struct Taker;

impl Plugin for Taker {
    type Config = ();
    type State = ();

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Orders for Taker {
    fn order(&self, order: Order, prices: Vec<f64>) -> (Order, Vec<f64>) {
        (order, prices)
    }
}

replug_api::export!(Taker: Orders);
