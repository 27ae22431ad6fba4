//! Describes in words how two versions of an interface differ.

use super::{Interface, Method, Param, Shape, Type, Variant};

/// Describes the first difference that prevents a host with one version of an interface from calling a plugin with
/// another version. `None` if the host can call the plugin.
///
/// Additional methods at the end are allowed on either side. Doc comments do not count.
pub fn difference(host: &Interface, plugin: &Interface) -> Option<String> {
    if host.name != plugin.name {
        return Some(format!(
            "the host's interface is `{}`, and the plugin's interface is `{}`",
            host.name, plugin.name
        ));
    }
    let methods = host.methods.iter().zip(&plugin.methods);
    methods.clone().find_map(|(host, plugin)| method(host, plugin)).or_else(|| {
        // Types that only the additional methods mention may differ.
        let mut comparison = Comparison { host, plugin, seen: Vec::new() };
        methods.clone().flat_map(|(method, _)| mentioned(method)).find_map(|ty| comparison.definitions(ty))
    })
}

/// Describes why the host cannot call the plugin's method as the host declares this method.
/// Each method is passed with the interface that defines its types.
pub fn method_difference(host: (&Interface, &Method), plugin: (&Interface, &Method)) -> Option<String> {
    let ((host, of_host), (plugin, of_plugin)) = (host, plugin);
    method(of_host, of_plugin).or_else(|| {
        let mut comparison = Comparison { host, plugin, seen: Vec::new() };
        mentioned(of_host).find_map(|ty| comparison.definitions(ty))
    })
}

fn mentioned(method: &Method) -> impl Iterator<Item = &Type> {
    method.params.iter().map(|param| &param.ty).chain([&method.returns]).chain(&method.error)
}

fn method(host: &Method, plugin: &Method) -> Option<String> {
    if host.name != plugin.name {
        return Some(format!(
            "where the host has the method `{}`, the plugin has `{}` (methods may only be added at the end)",
            host.name, plugin.name
        ));
    }
    let name = &host.name;
    let names = |method: &Method| {
        method.params.iter().map(|param| param.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    if host.params.len() != plugin.params.len() {
        return Some(format!(
            "`{name}` takes ({}) in the host and ({}) in the plugin",
            names(host),
            names(plugin)
        ));
    }
    params(&host.params, &plugin.params, "parameter")
        .or_else(|| types("the result", &host.returns, &plugin.returns))
        .or_else(|| match (&host.error, &plugin.error) {
            (Some(host), Some(plugin)) => types("the error", host, plugin),
            (None, None) => None,
            (Some(_), None) => Some("returns a Result in the host and cannot fail in the plugin".into()),
            (None, Some(_)) => Some("cannot fail in the host and returns a Result in the plugin".into()),
        })
        .map(|what| format!("`{name}`: {what}"))
}

fn params(host: &[Param], plugin: &[Param], kind: &str) -> Option<String> {
    host.iter().zip(plugin).find_map(|(host, plugin)| {
        if host.name == plugin.name {
            types(&format!("{kind} `{}`", host.name), &host.ty, &plugin.ty)
        } else {
            Some(format!("{kind} `{}` of the host is `{}` in the plugin", host.name, plugin.name))
        }
    })
}

fn types(what: &str, host: &Type, plugin: &Type) -> Option<String> {
    (host != plugin).then(|| format!("{what} is {host} in the host and {plugin} in the plugin"))
}

/// A comparison of the definitions of types with the same name. Each definition is compared once.
struct Comparison<'a> {
    host: &'a Interface,
    plugin: &'a Interface,
    seen: Vec<&'a str>,
}

impl<'a> Comparison<'a> {
    fn definitions(&mut self, ty: &'a Type) -> Option<String> {
        match ty {
            Type::Option(inner) | Type::List(inner) | Type::Array(inner, _) => self.definitions(inner),
            Type::Map(a, b) | Type::Result(a, b) => self.definitions(a).or_else(|| self.definitions(b)),
            Type::Tuple(parts) => parts.iter().find_map(|part| self.definitions(part)),
            Type::Named(name) => self.named(name),
            _ => None,
        }
    }

    fn named(&mut self, name: &'a str) -> Option<String> {
        if self.seen.contains(&name) {
            return None;
        }
        self.seen.push(name);
        let (host, plugin) = (self.host.types.get(name)?, self.plugin.types.get(name)?);
        shape(&host.shape, &plugin.shape)
            .map(|what| format!("type `{name}`: {what}"))
            .or_else(|| self.inside(&host.shape))
    }

    fn inside(&mut self, shape: &'a Shape) -> Option<String> {
        match shape {
            Shape::Unit | Shape::Encoded => None,
            Shape::Tuple(fields) => fields.iter().find_map(|field| self.definitions(field)),
            Shape::Struct(fields) => fields.iter().find_map(|field| self.definitions(&field.ty)),
            Shape::Enum(variants) => variants.iter().find_map(|variant| self.inside(&variant.shape)),
        }
    }
}

fn shape(host: &Shape, plugin: &Shape) -> Option<String> {
    match (host, plugin) {
        (Shape::Unit, Shape::Unit) | (Shape::Encoded, Shape::Encoded) => None,
        (Shape::Tuple(host), Shape::Tuple(plugin)) if host.len() == plugin.len() => host
            .iter()
            .zip(plugin)
            .enumerate()
            .find_map(|(at, (host, plugin))| types(&format!("field {at}"), host, plugin)),
        (Shape::Struct(host), Shape::Struct(plugin)) => {
            only_in("field", &names(host), &names(plugin)).or_else(|| params(host, plugin, "field"))
        }
        (Shape::Enum(host), Shape::Enum(plugin)) => variants(host, plugin),
        _ => Some(format!("is {} in the host and {} in the plugin", kind(host), kind(plugin))),
    }
}

fn variants(host: &[Variant], plugin: &[Variant]) -> Option<String> {
    let names = |variants: &[Variant]| variants.iter().map(|v| v.name.clone()).collect::<Vec<_>>();
    only_in("variant", &names(host), &names(plugin)).or_else(|| {
        host.iter().zip(plugin).find_map(|(host, plugin)| {
            if host.name == plugin.name {
                shape(&host.shape, &plugin.shape).map(|what| format!("variant `{}`: {what}", host.name))
            } else {
                Some(format!("variant `{}` of the host is `{}` in the plugin", host.name, plugin.name))
            }
        })
    })
}

fn names(params: &[Param]) -> Vec<String> {
    params.iter().map(|param| param.name.clone()).collect()
}

fn only_in(kind: &str, host: &[String], plugin: &[String]) -> Option<String> {
    let missing = |all: &[String], from: &[String]| all.iter().find(|name| !from.contains(name)).cloned();
    missing(host, plugin)
        .map(|name| format!("{kind} `{name}` is missing in the plugin"))
        .or_else(|| missing(plugin, host).map(|name| format!("{kind} `{name}` is not known to the host")))
}

fn kind(shape: &Shape) -> String {
    match shape {
        Shape::Unit => "without fields".into(),
        Shape::Tuple(fields) => format!("a tuple of {}", fields.len()),
        Shape::Struct(_) => "a struct with named fields".into(),
        Shape::Enum(_) => "an enum".into(),
        Shape::Encoded => "encoded by serde".into(),
    }
}
