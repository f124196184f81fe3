//! `check` and `schema`: what can be told of the files without a running gateway.

use std::path::Path;

use super::failure::Failure;
use super::print;
use super::{Output, SchemaOf};
use crate::admin::access::Access;
use crate::admin::view::CheckedView;
use crate::diagnostics::Report;
use crate::{settings, source};

/// Judges everything that a start would read, keys and tokens included.
pub(super) fn check(config: &Path, output: Output) -> Result<(), Failure> {
    match judge(config) {
        Ok(found) => {
            let Found { stamps, tenants, endpoints, warnings } = &found;
            if output == Output::Json {
                let (stamps, tenants, endpoints) = (*stamps, *tenants, *endpoints);
                let diagnostics = warnings;
                return print::json(&CheckedView {
                    ok: true,
                    stamps,
                    tenants,
                    endpoints,
                    diagnostics,
                });
            }
            for warning in warnings.iter() {
                print::remark(&warning.to_string());
            }
            print::line(&format!("ok: {stamps} stamps, {endpoints} endpoints, {tenants} tenants"));
            Ok(())
        }
        Err(report) => {
            if output == Output::Json {
                let (stamps, tenants, endpoints) = (0, 0, 0);
                let diagnostics = &report;
                print::json(&CheckedView { ok: false, stamps, tenants, endpoints, diagnostics })?;
            }
            Err(Failure::Configuration(report))
        }
    }
}

/// What a valid configuration holds.
struct Found {
    stamps: usize,
    tenants: usize,
    endpoints: usize,
    warnings: Report,
}

fn judge(config: &Path) -> Result<Found, Report> {
    let settings = source::load_settings(config)?;
    // Both are told, so that one run finds every mistake.
    let tokens = tokens(&settings);
    let (table, warnings) = match (source::check(&settings), tokens) {
        (Ok(checked), Ok(())) => checked,
        (Ok(_), Err(report)) | (Err(report), Ok(())) => return Err(report),
        (Err(files), Err(tokens)) => return Err(Report::all([files, tokens].into_iter())),
    };
    Ok(Found {
        stamps: table.stamps().len(),
        tenants: table.directory.len(),
        endpoints: table.endpoint_count(),
        warnings,
    })
}

fn tokens(settings: &settings::Settings) -> Result<(), Report> {
    let (_, errors) = Access::read(&settings.live.admin_tokens, &settings.admin.allowed_hosts);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Report::all(errors.iter().map(|error| Report::plain(&error.to_string()))))
}

/// `stampgate schema`: as committed under schema/.
pub(super) fn schema(file: SchemaOf) -> Result<(), Failure> {
    let schema = match file {
        SchemaOf::Gateway => settings::schema_gateway(),
        SchemaOf::Routing => settings::schema_routing(),
    };
    print::json(&schema)
}
