//! The limits of a child: always resource limits, and a cgroup if one is available. Reports which limits are in force.

use super::cgroup::{self, Cgroup, CgroupError, CgroupParent};
use replug_model::{
    event::{Bound, Enforcer, LimitedResource, LimitsInForce},
    id::{Generation, PluginId},
    limits::{CgroupUse, LimitsSpec},
};
use replug_wire::Limits;
use std::{fs, path::Path, sync::Arc};

/// The limits of one child.
#[derive(Debug)]
pub(super) struct Bounds {
    spec: LimitsSpec,
    cgroup: Option<Arc<Cgroup>>,
    /// The limits that the cgroup enforces.
    by_cgroup: Vec<Bound>,
    /// The reasons why the cgroup is missing, or does not enforce a limit.
    lacking: Vec<String>,
}

impl Bounds {
    /// Creates the child's cgroup, unless the manifest turns cgroups off.
    ///
    /// # Errors
    ///
    /// If a cgroup is required: the reason why there is none, or why it does not enforce all limits.
    pub(super) fn prepare(spec: LimitsSpec, of: (&PluginId, Generation)) -> Result<Self, CgroupError> {
        let mut bounds = Self { spec, cgroup: None, by_cgroup: Vec::new(), lacking: Vec::new() };
        if spec.cgroup != CgroupUse::Off {
            let made = bounds.make(of.0.short(), of.1);
            bounds.unless_required(made)?;
        }
        Ok(bounds)
    }

    fn make(&mut self, short_id: &str, generation: Generation) -> Result<(), CgroupError> {
        let proc = Path::new("/proc");
        let place = CgroupParent::find(proc)?;
        place.sweep(proc);
        let asked = [self.spec.kernel.memory_bytes, self.spec.kernel.processes];
        for (controller, _) in cgroup::CONTROLLERS.into_iter().zip(asked).filter(|(_, asked)| asked.is_some())
        {
            let enabled = place.enable(controller);
            self.unless_required(enabled)?;
        }
        let cgroup = Arc::new(place.make(|| cgroup::name(short_id, generation))?);
        self.cgroup = Some(cgroup.clone());
        for bound in cgroup.bound(&self.spec.kernel) {
            match bound {
                Ok((of, value)) => {
                    self.by_cgroup.push(Bound { of, value, by: Enforcer::Cgroup });
                }
                // If `lacking` has an entry, the entry already states why a controller could not be enabled.
                Err(error) if self.lacking.is_empty() => self.unless_required(Err(error))?,
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Moves the process into the cgroup, before the process loads the artifact.
    pub(super) fn take_in(&mut self, pid: u32) -> Result<(), CgroupError> {
        let Some(cgroup) = &self.cgroup else { return Ok(()) };
        let taken = cgroup.take_in(pid);
        if taken.is_err() {
            self.by_cgroup.clear();
        }
        self.unless_required(taken)
    }

    /// Returns the error if a cgroup is required. Otherwise, adds the error to `lacking`.
    fn unless_required(&mut self, outcome: Result<(), CgroupError>) -> Result<(), CgroupError> {
        let Err(error) = outcome else { return Ok(()) };
        if self.spec.cgroup == CgroupUse::Required {
            self.discard();
            return Err(error);
        }
        self.lacking.push(error.to_string());
        Ok(())
    }

    /// Removes the cgroup of a process that was not started.
    pub(crate) fn discard(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.remove(std::time::Duration::ZERO);
        }
    }

    pub(super) fn cgroup(&self) -> Option<Arc<Cgroup>> {
        self.cgroup.clone()
    }

    /// The resource limits that the process sets for itself. The resource limit on processes counts all processes of
    /// the user, so it is left out if the cgroup limits the plugin's own processes.
    pub(super) fn rlimits(&self) -> Limits {
        let counted = self.by_cgroup.iter().any(|bound| bound.of == LimitedResource::Processes);
        Limits { processes: self.spec.kernel.processes.filter(|_| !counted), ..self.spec.kernel }
    }

    /// The limits that are in force for the process, after it has set its resource limits.
    pub(super) fn in_force(&self, pid: u32) -> LimitsInForce {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let asked = self.rlimits();
        let by_rlimit = [
            (LimitedResource::MemoryBytes, "Max address space", asked.memory_bytes),
            (LimitedResource::CpuSeconds, "Max cpu time", asked.cpu_seconds),
            (LimitedResource::OpenFiles, "Max open files", asked.open_files),
            (LimitedResource::FileSizeBytes, "Max file size", asked.file_size_bytes),
            (LimitedResource::Processes, "Max processes", asked.processes),
        ];
        let by_rlimit = by_rlimit.into_iter().filter_map(|(of, line, asked)| {
            let (value, by) = (soft(&text, line).or(asked.filter(|_| text.is_empty()))?, Enforcer::Rlimit);
            asked.map(|_| Bound { of, value, by })
        });
        let mut bounds: Vec<_> = self.by_cgroup.iter().cloned().chain(by_rlimit).collect();
        bounds.sort_by_key(|bound| bound.of);
        let asks_for_one = self.spec.kernel.memory_bytes.is_some() || self.spec.kernel.processes.is_some();
        let mut lacking = if asks_for_one { self.lacking.clone() } else { Vec::new() };
        let only_rlimit = |of: LimitedResource| {
            bounds.iter().any(|it| it.of == of && it.by == Enforcer::Rlimit)
                && !bounds.iter().any(|it| it.of == of && it.by == Enforcer::Cgroup)
        };
        if only_rlimit(LimitedResource::MemoryBytes) {
            lacking.push(
                "`memory` limits the address space of each process of the plugin, not the memory of all of them together"
                    .into(),
            );
        }
        if only_rlimit(LimitedResource::Processes) {
            lacking.push(if rustix::process::getuid().is_root() {
                "`processes` does not apply to root without a cgroup".into()
            } else {
                "`processes` counts all processes and threads of the user, not only the plugin's".into()
            });
        }
        let entered = self.cgroup.as_ref().filter(|cgroup| cgroup.processes() > Some(0));
        LimitsInForce { bounds, cgroup: entered.map(|cgroup| cgroup.dir().to_owned()), lacking }
    }
}

/// The soft limit in a line such as `Max open files            1024                 4096                 files`.
fn soft(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(cgroup: CgroupUse) -> Bounds {
        let kernel = Limits { memory_bytes: Some(1 << 30), processes: Some(64), ..Limits::default() };
        let spec = LimitsSpec { kernel, cgroup };
        Bounds { spec, cgroup: None, by_cgroup: Vec::new(), lacking: Vec::new() }
    }

    #[test]
    fn a_missing_cgroup_is_reported_if_preferred_and_an_error_if_required() {
        let error = || Err(CgroupError::None { path: "/proc".into() });
        let mut preferred = bounds(CgroupUse::Preferred);
        preferred.unless_required(error()).unwrap();
        let lacking = preferred.in_force(std::process::id()).lacking;
        assert!(lacking[0].contains("no cgroup v2"), "{lacking:?}");
        assert!(bounds(CgroupUse::Required).unless_required(error()).is_err());
    }

    #[test]
    fn an_rlimit_on_processes_is_left_out_if_the_cgroup_has_one() {
        let mut it = bounds(CgroupUse::Preferred);
        assert_eq!(it.rlimits().processes, Some(64));
        it.by_cgroup.push(Bound { of: LimitedResource::Processes, value: 64, by: Enforcer::Cgroup });
        assert_eq!((it.rlimits().processes, it.rlimits().memory_bytes), (None, Some(1 << 30)));
        assert!(!it.in_force(std::process::id()).lacking.iter().any(|it| it.contains("`processes`")));
    }

    #[test]
    fn soft_limits_are_parsed_from_the_table_of_the_kernel() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            1024                 4096                 files     \n";
        assert_eq!((soft(text, "Max open files"), soft(text, "Max cpu time")), (Some(1024), None));
    }
}
