//! `check` and `schema`: what can be told of the files without a running gateway.

use std::path::Path;

use super::failure::Failure;
use super::print;
use super::{Output, SchemaOf};
use crate::admin::access;
use crate::admin::view::CheckedView;
use crate::clock::Clock;
use crate::diagnostics::Report;
use crate::{settings, source};

/// Judges everything that a start would read, keys and tokens included.
pub(super) fn check(config: &Path, output: Output) -> Result<(), Failure> {
    let judged = judge(config);
    let checked = match &judged {
        Ok(checked) => checked.as_view(),
        Err(reports) => {
            let diagnostics = reports.iter().flat_map(Report::told).collect();
            let (stamps, tenants, endpoints) = (0, 0, 0);
            CheckedView { ok: false, stamps, tenants, endpoints, diagnostics, changes: None }
        }
    };
    if output == Output::Json {
        print::json(&checked)?;
    }
    let Checked { stamps, tenants, endpoints, warnings } =
        judged.map_err(Failure::Configuration)?;
    if !warnings.is_empty() {
        print::remark(warnings.render(print::paint()).trim_end());
    }
    if output == Output::Table {
        print::line(&format!("ok: {stamps} stamps, {endpoints} endpoints, {tenants} tenants"));
    }
    Ok(())
}

/// What a valid configuration holds.
struct Checked {
    stamps: usize,
    tenants: usize,
    endpoints: usize,
    warnings: Report,
}

impl Checked {
    fn as_view(&self) -> CheckedView {
        CheckedView {
            ok: true,
            stamps: self.stamps,
            tenants: self.tenants,
            endpoints: self.endpoints,
            diagnostics: self.warnings.told(),
            changes: None,
        }
    }
}

fn judge(config: &Path) -> Result<Checked, Vec<Report>> {
    let clock = Clock::start();
    let settings = source::load_settings(config).map_err(|report| {
        let routing = source::check_routing_of_refused(config, clock).err();
        std::iter::once(report).chain(routing).collect::<Vec<_>>()
    })?;
    // Both are told, so that one run finds every mistake.
    let (files, tokens) = (source::check(&settings, clock), access::check(&settings));
    let (table, warnings) = match (files, tokens) {
        (Ok(checked), Ok(())) => checked,
        (Ok(_), Err(report)) | (Err(report), Ok(())) => return Err(vec![report]),
        (Err(files), Err(tokens)) => return Err(vec![files, tokens]),
    };
    Ok(Checked {
        stamps: table.stamps().len(),
        tenants: table.directory.len(),
        endpoints: table.endpoint_count(),
        warnings,
    })
}

/// `stampgate schema`: as committed under schema/.
pub(super) fn schema(file: SchemaOf) -> Result<(), Failure> {
    let schema = match file {
        SchemaOf::Gateway => settings::schema_gateway(),
        SchemaOf::Routing => settings::schema_routing(),
    };
    print::json(&schema)
}
