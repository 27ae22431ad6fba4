//! Sends traces to a collector by OTLP over HTTP. Without the feature `otel`, this module exports nothing.

#[cfg(not(feature = "otel"))]
pub(super) use absent::Export;
#[cfg(feature = "otel")]
pub(super) use present::Export;

#[cfg(feature = "otel")]
mod present {
    use super::super::trace::AnyLayer;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
    use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
    use replug::OtelSettings;
    use std::env;
    use tracing::level_filters::LevelFilter;
    use tracing_subscriber::{Layer, filter::Targets};

    /// The standard environment variables for the address of a collector.
    const VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

    /// The exporter, which sends spans to a collector on a separate thread.
    pub(crate) struct Export {
        provider: SdkTracerProvider,
    }

    impl Export {
        /// Starts the export if a collector is configured. Returns the layer that receives the spans.
        pub(crate) fn begin(settings: &OtelSettings) -> Result<Option<(Self, AnyLayer)>, ExporterBuildError> {
            let exporter = SpanExporter::builder().with_http();
            let exporter = match &settings.endpoint {
                Some(base) => exporter.with_endpoint(format!("{}/v1/traces", base.trim_end_matches('/'))),
                None if VARIABLES.iter().any(|name| env::var_os(name).is_some_and(|it| !it.is_empty())) => {
                    exporter
                }
                None => return Ok(None),
            };
            // The builder reads OTEL_SERVICE_NAME, which takes precedence.
            let named = env::var_os("OTEL_SERVICE_NAME").is_some();
            let resource = Resource::builder();
            let resource = if named { resource } else { resource.with_service_name("replug") };
            let provider = SdkTracerProvider::builder()
                .with_resource(resource.build())
                .with_batch_exporter(exporter.build()?)
                .build();
            // This filter is independent of the filters of the logs. It leaves out spans of the exporter itself,
            // because each export would create spans to export.
            let ours = Targets::new()
                .with_target("replug", LevelFilter::INFO)
                .with_target("replug::http", LevelFilter::DEBUG);
            let layer =
                tracing_opentelemetry::layer().with_tracer(provider.tracer("replug")).with_filter(ours);
            Ok(Some((Self { provider }, layer.boxed())))
        }

        /// Sends the remaining spans, and stops the export.
        pub(crate) fn end(self) {
            if let Err(error) = self.provider.shutdown() {
                tracing::warn!("the last traces did not reach the collector: {error}");
            }
        }
    }
}

#[cfg(not(feature = "otel"))]
mod absent {
    use super::super::trace::AnyLayer;
    use replug::OtelSettings;
    use std::convert::Infallible;

    /// The exporter of a build without the feature. It never exists, because the configuration rejects an endpoint.
    pub(crate) enum Export {}

    impl Export {
        /// Returns `None`.
        pub(crate) fn begin(_: &OtelSettings) -> Result<Option<(Self, AnyLayer)>, Infallible> {
            Ok(None)
        }

        /// Cannot be called.
        pub(crate) fn end(self) {
            match self {}
        }
    }
}
