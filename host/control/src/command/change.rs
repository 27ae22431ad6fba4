//! The commands that change a plugin, one function each. The [`Executor`](super::execute::Executor) audits them.

use super::{
    Configure, OfPlugin, Register, Rollback, Stop,
    answer::{Changed, ConfigTaken},
    error::{Code, ControlError},
    execute::Done,
};
use replug_engine::{Digest, Generation, Host, PluginId, Version};

pub(super) async fn register(host: &Host, Register { id, rebuild }: Register) -> Done<Changed> {
    let is_registered = host.info(id.as_str())?.status.is_registered();
    match (is_registered, rebuild) {
        (true, false) => {
            let text = format!("{id} is registered already: `reload` it, or `start` it if it was stopped");
            return Err(ControlError::new(Code::WrongState, text));
        }
        (_, true) => host.reload(id.as_str()).await?,
        (false, false) => host.start(id.as_str()).await?,
    };
    changed(host, &id)
}

pub(super) async fn unregister(host: &Host, OfPlugin { id }: OfPlugin) -> Done<Changed> {
    if !host.info(id.as_str())?.status.is_registered() {
        let text = format!("{id} is not registered: there is nothing to stop");
        return Err(ControlError::new(Code::WrongState, text));
    }
    host.unregister(id.as_str()).await?;
    changed(host, &id)
}

pub(super) async fn reload(host: &Host, OfPlugin { id }: OfPlugin) -> Done<Changed> {
    host.reload(id.as_str()).await?;
    changed(host, &id)
}

pub(super) async fn rollback(host: &Host, Rollback { id, to }: Rollback) -> Done<Changed> {
    let versions = host.versions(id.as_str())?;
    let to = to.as_deref().map(|to| version(&id, &versions, to)).transpose()?;
    host.rollback(id.as_str(), to).await?;
    changed(host, &id)
}

pub(super) async fn start(host: &Host, OfPlugin { id }: OfPlugin) -> Done<Changed> {
    host.start(id.as_str()).await?;
    changed(host, &id)
}

pub(super) async fn stop(host: &Host, Stop { id, discard }: Stop) -> Done<Changed> {
    match discard {
        true => host.stop_and_discard(id.as_str()).await?,
        false => host.stop(id.as_str()).await?,
    }
    changed(host, &id)
}

pub(super) async fn config(host: &Host, Configure { id, config }: Configure) -> Done<ConfigTaken> {
    let how = host.configure(id.as_str(), config).await?;
    Ok(ConfigTaken::new(id.to_string(), how))
}

/// The current state of the plugin, as an answer.
fn changed(host: &Host, id: &PluginId) -> Done<Changed> {
    let info = host.info(id.as_str())?;
    let generation = info.generation.map(|generation| generation.0);
    Ok(Changed { id: info.id.to_string(), generation, status: info.status })
}

/// The version that `to` selects: a generation such as `g2`, a digest, or an unambiguous prefix of a digest with at
/// least four characters.
fn version(id: &PluginId, versions: &[Version], to: &str) -> Done<Digest> {
    let generation = to.strip_prefix('g').and_then(|number| number.parse::<u64>().ok());
    let fits = |version: &&Version| match generation {
        Some(number) => generations(version).any(|generation| generation.0 == number),
        None => to.len() >= 4 && version.digest.to_string().starts_with(&to.to_ascii_lowercase()),
    };
    let found: Vec<_> = versions.iter().filter(fits).collect();
    if let [version] = found[..] {
        return Ok(version.digest);
    }
    let known: Vec<_> = versions
        .iter()
        .map(|version| {
            let generations: Vec<_> = generations(version).map(|generation| generation.to_string()).collect();
            format!("{} ({})", generations.join(" = "), version.digest.short())
        })
        .collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let to: String = to.chars().take(80).collect();
    let text = format!("{id} has no version {to:?} to go back to; it has {known}");
    Err(ControlError::new(Code::UnknownVersion, text))
}

/// The generations by which a version can be named, the oldest first.
fn generations(version: &Version) -> impl Iterator<Item = Generation> {
    let serving = version.serves_as.filter(|now| *now != version.generation && !version.later.contains(now));
    [version.generation].into_iter().chain(version.later.iter().copied()).chain(serving)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_or_a_prefix_of_a_digest_selects_a_version() {
        let id: PluginId = "dev.example.x".parse().unwrap();
        let at = |number, byte, later: &[u64]| Version {
            generation: Generation(number),
            later: later.iter().copied().map(Generation).collect(),
            digest: Digest([byte; 32]),
            serves_as: None,
        };
        let versions = [at(1, 0xab, &[3, 5]), at(2, 0xcd, &[])];
        for to in ["g1", "g3", "g5", "abab", "ABABab"] {
            assert_eq!(version(&id, &versions, to).unwrap(), Digest([0xab; 32]), "{to}");
        }
        for to in ["g4", "ab", "", "../x", "abcd"] {
            let error = version(&id, &versions, to).unwrap_err();
            assert_eq!(error.code, Code::UnknownVersion);
            assert!(error.message.contains("it has g1 = g3 = g5 (abababababab), g2 ("), "{error}");
        }
    }
}
