//! Types that a signature cannot have.

#[replug_api::interface]
trait Parameters {
    fn reference(&self, list: &Vec<u8>);
    fn string(&self, text: &String);
    fn slice(&self, list: &[f64]);
    fn mutable(&self, text: &mut str);
    fn nested(&self, text: Option<&str>);
    fn sized(&self, list: Arc<[u8]>);
    fn pointer(&self, it: *const u8);
    fn function(&self, it: fn(u8) -> u8);
    fn some(&self, it: impl Fn());
    fn object(&self, it: Box<dyn Fn()>);
    fn object_reference(&self, it: &dyn Fn());
    fn own(&self, it: Self);
    fn inferred(&self, it: Vec<_>);
    fn nothings(&self, list: Option<Vec<()>>);
    fn forever(&self, text: &'static str);
    fn borrowed(&self, it: std::borrow::Cow<'static, str>);
}

#[replug_api::interface]
trait Results {
    fn text(&self) -> &str;
    fn own(&self) -> Option<Self>;
    fn never(&self) -> !;
    fn alias(&self) -> std::io::Result<u8>;
    fn object(&self) -> Result<u8, Box<dyn std::error::Error>>;
}

fn main() {}
