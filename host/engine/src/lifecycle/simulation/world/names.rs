//! The names of states and inputs, for transitions.

use crate::lifecycle::{Input, Service};

pub(super) fn name(service: &Service) -> &'static str {
    match service {
        Service::Stopped => "stopped",
        Service::Down { .. } => "down",
        Service::GivenUp { .. } => "given up",
        Service::Serving(_) => "serving",
        Service::Backoff { .. } => "backoff",
    }
}

pub(super) fn name_of(input: &Input) -> &'static str {
    match input {
        Input::Returned(_) => "Returned",
        Input::Command(..) => "Command",
        Input::Finished => "Finished",
        Input::Build(_) => "Build",
        Input::GitIsQuiet { .. } => "GitIsQuiet",
        Input::Considered { .. } => "Considered",
        Input::Compiled(_) => "Compiled",
        Input::PauseOver => "PauseOver",
        Input::Changed(_) => "Changed",
        Input::CompilerEnded { .. } => "CompilerEnded",
        Input::BuildFailed { .. } => "BuildFailed",
        Input::LookedForManifest { .. } => "LookedForManifest",
        Input::Placed(_) => "Placed",
        Input::Moved { .. } => "Moved",
        Input::StartAsked { .. } => "StartAsked",
        Input::Start { .. } => "Start",
        Input::Tried { .. } => "Tried",
        Input::StartAnswered => "StartAnswered",
        Input::SourceTried { .. } => "SourceTried",
        Input::Unchanged => "Unchanged",
        Input::Configure { .. } => "Configure",
        Input::ConfigureEnded { .. } => "ConfigureEnded",
        Input::ManifestRead { .. } => "ManifestRead",
        Input::ManifestUnusable(_) => "ManifestUnusable",
        Input::ManifestRefused { .. } => "ManifestRefused",
        Input::Refused(_) => "Refused",
        Input::Wanted => "Wanted",
        Input::HostStarts(_) => "HostStarts",
        Input::Served { .. } => "Served",
        Input::Install(_) => "Install",
        Input::NotInstalled(_) => "NotInstalled",
        Input::StateLost => "StateLost",
        Input::PassedOver => "PassedOver",
        Input::Died(_) => "Died",
        Input::Due => "Due",
        Input::Calls { .. } => "Calls",
        Input::TaskEnded { .. } => "TaskEnded",
        Input::CheckpointEnded { .. } => "CheckpointEnded",
        Input::RollBack(_) => "RollBack",
        Input::Stop(_) => "Stop",
        Input::Ended { .. } => "Ended",
    }
}
