//! Parses, validates and reflects one kernel.

use crate::limits;
use crate::source::{Error, Source};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Handle, Span, StorageAccess};
use std::collections::BTreeSet;

/// What the generated constant says.
#[derive(Debug)]
pub struct Kernel {
    pub name: String,
    pub docs: Vec<String>,
    pub source: String,
    pub params_size: u32,
    pub bindings: Vec<Binding>,
    pub reals: Vec<Option<String>>,
    pub overrides: Vec<(String, Option<f64>)>,
    pub workgroup_size: [u32; 3],
    pub workgroup_memory: u32,
    pub subgroups: bool,
}

/// Named as in the crate, whose code is written from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    Uniform,
    Read,
    ReadWrite,
}

/// Half precision has to be asked for, before anything else.
const ENABLE_F16: &str = "enable f16;\n";

/// The names of all element types, `real_…`, in some WGSL.
fn real_names(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("real_"))
        .collect()
}

/// A source with one element type in half precision, or none: as the crate's `Kernel::wgsl` puts it together.
fn wgsl(source: &Source, half: Option<&str>) -> String {
    let enable = half.map_or("", |_| ENABLE_F16);
    let aliases = real_names(&source.text).into_iter().map(|name| {
        let real = if half == Some(name) { "f16" } else { "f32" };
        format!("alias {name} = {real};\n")
    });
    format!("{enable}{}{}", source.text, aliases.collect::<String>())
}

/// Parses and validates a source, and says whether it takes subgroup operations.
fn parse(source: &Source, half: Option<&str>) -> Result<(naga::Module, ModuleInfo, bool), Error> {
    let before = half.map_or(0, |_| ENABLE_F16.len());
    let at = |span: Option<Span>, message: String| {
        let range = span.and_then(Span::to_range);
        let span = range.map(|range| {
            let shifted = |offset: usize| offset.saturating_sub(before) as u32;
            Span::new(shifted(range.start), shifted(range.end))
        });
        match half {
            Some(name) => at(source, span, format!("with {name} = f16: {message}")),
            None => at(source, span, message),
        }
    };
    let module = naga::front::wgsl::parse_str(&wgsl(source, half)).map_err(|error| {
        let mut message = error.message().to_owned();
        for label in error
            .labels()
            .map(|(_, text)| text)
            .filter(|text| !text.is_empty())
        {
            message = format!("{message}: {label}");
        }
        for note in error.notes() {
            message = format!("{message} ({note})");
        }
        let span = error.labels().next().map(|(span, _)| span);
        at(span, message)
    })?;
    // What WebGPU has everywhere, so no f64; a kernel that passes only with subgroup operations says so.
    let validate = |capabilities| {
        let precision = match half {
            Some(_) => Capabilities::SHADER_FLOAT16,
            None => Capabilities::empty(),
        };
        Validator::new(ValidationFlags::all(), capabilities | precision)
            .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
            .subgroup_operations(naga::valid::SubgroupOperationSet::all())
            .validate(&module)
            .map_err(Box::new)
    };
    let portable = validate(Capabilities::empty());
    let subgroups = portable.is_err();
    let info = portable.or_else(|_| validate(Capabilities::SUBGROUP));
    let info = info.map_err(|error| {
        // Of the nested spans (function, statement, expression) the shortest says most.
        let spans = error.spans().map(|(span, _)| *span);
        let span = spans.min_by_key(|span| span.to_range().map_or(0, |range| range.len()));
        at(span, chain(error.as_inner()))
    })?;
    Ok((module, info, subgroups))
}

/// Reads a kernel out of its source, or says what is wrong with it and where.
pub fn reflect(source: &Source) -> Result<Kernel, Error> {
    let (module, info, subgroups) = parse(source, None)?;
    // Each alone: what mixes element types without converting them is found.
    for name in real_names(&source.text) {
        parse(source, Some(name))?;
    }

    let entry = match module.entry_points.as_slice() {
        [entry] if entry.name == "main" && entry.stage == naga::ShaderStage::Compute => entry,
        entries => {
            let found: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
            return Err(source.error(format!(
                "expected a single entry point, `@compute fn main`; found [{}]",
                found.join(", ")
            )));
        }
    };
    let (params_size, bindings, reals) = bindings(source, &module)?;
    let overrides = overrides(source, &module)?;

    // With the defaults in place, sizes that depend on overrides are numbers.
    let (resolved, _) = naga::back::pipeline_constants::process_overrides(
        &module,
        &info,
        Some((naga::ShaderStage::Compute, &entry.name)),
        &Default::default(),
    )
    .map_err(|error| source.error(format!("with its defaults: {}", chain(&error))))?;
    let workgroup_size = resolved.entry_points[0].workgroup_size;
    let workgroup_memory = resolved
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
        .map(|(_, variable)| resolved.types[variable.ty].inner.size(resolved.to_ctx()))
        .sum();

    let invocations: u32 = workgroup_size.iter().product();
    if invocations > limits::MAX_INVOCATIONS {
        return Err(source.error(format!(
            "a workgroup of {invocations} invocations; the portable limit is {}",
            limits::MAX_INVOCATIONS
        )));
    }
    if workgroup_memory > limits::MAX_WORKGROUP_MEMORY {
        return Err(source.error(format!(
            "{workgroup_memory} bytes of workgroup memory; the portable limit is {}",
            limits::MAX_WORKGROUP_MEMORY
        )));
    }
    Ok(Kernel {
        name: source.name.clone(),
        docs: source.docs.clone(),
        source: source.text.clone(),
        params_size,
        bindings,
        reals,
        overrides,
        workgroup_size,
        workgroup_memory,
        subgroups,
    })
}

/// The size of the parameters, the bindings in order, and the names of the storages' element types where these
/// may be of either precision; see the crate's documentation.
#[expect(clippy::type_complexity)]
fn bindings(
    source: &Source,
    module: &naga::Module,
) -> Result<(u32, Vec<Binding>, Vec<Option<String>>), Error> {
    let mut params_size = 0;
    let mut storage = Vec::new();
    for (handle, variable) in module.global_variables.iter() {
        let span = module.global_variables.get_span(handle);
        let name = variable.name.as_deref().unwrap_or("_");
        let error = |message: String| Err(at(source, Some(span), message));
        let Some(binding) = variable.binding else {
            if variable.space == AddressSpace::Immediate {
                return error(format!(
                    "`{name}`: browsers have no immediates; use `Params`"
                ));
            }
            continue;
        };
        if binding.group != 0 {
            return error(format!(
                "`{name}` is in group {}; expected group 0",
                binding.group
            ));
        }
        match (variable.space, binding.binding) {
            (AddressSpace::Uniform, 0) => {
                params_size = module.types[variable.ty].inner.size(module.to_ctx());
                if params_size > limits::MAX_PARAMS {
                    return error(format!(
                        "`{name}` has {params_size} bytes; parameters may have {}",
                        limits::MAX_PARAMS
                    ));
                }
            }
            (AddressSpace::Uniform, n) => {
                return error(format!(
                    "uniform `{name}` is at binding {n}; expected binding 0"
                ));
            }
            (AddressSpace::Storage { .. }, 0) => {
                return error(format!(
                    "`{name}` is at binding 0, the parameters' place; storage starts at binding 1"
                ));
            }
            (AddressSpace::Storage { access }, n) => storage.push((n, name, span, access)),
            _ => {
                return error(format!("`{name}`: expected a uniform or a storage buffer"));
            }
        }
    }
    storage.sort_by_key(|&(binding, ..)| binding);
    let mut bindings = Vec::new();
    if params_size > 0 {
        bindings.push(Binding::Uniform);
    }
    for (expected, (binding, name, span, access)) in (1..).zip(&storage) {
        if *binding != expected {
            return Err(at(
                source,
                Some(*span),
                format!("`{name}` is at binding {binding}; expected {expected}, the next one"),
            ));
        }
        bindings.push(if access.contains(StorageAccess::STORE) {
            Binding::ReadWrite
        } else {
            Binding::Read
        });
    }
    if storage.len() > limits::MAX_STORAGE_BUFFERS {
        return Err(source.error(format!(
            "{} storage buffers; the portable limit is {}",
            storage.len(),
            limits::MAX_STORAGE_BUFFERS
        )));
    }
    let mut names = real_names(&source.text);
    let reals = storage
        .iter()
        .map(|(_, name, ..)| {
            let name = format!("real_{}", name.trim_end_matches('_'));
            names.remove(name.as_str()).then_some(name)
        })
        .collect();
    if let Some(name) = names.first() {
        return Err(source.error(format!(
            "`{name}` is no storage's element type: `real_NAME` is that of storage `NAME`"
        )));
    }
    Ok((params_size, bindings, reals))
}

/// Names and defaults of the overrides.
fn overrides(source: &Source, module: &naga::Module) -> Result<Vec<(String, Option<f64>)>, Error> {
    let mut overrides = Vec::new();
    for (handle, constant) in module.overrides.iter() {
        // Expressions over overrides, as in an array's length, are nameless overrides in naga.
        let Some(name) = constant.name.clone() else {
            continue;
        };
        let span = module.overrides.get_span(handle);
        let Some(init) = constant.init else {
            return Err(at(
                source,
                Some(span),
                format!("override `{name}` needs a default"),
            ));
        };
        if constant.id.is_some() {
            let message = format!("override `{name}` is set by name; leave its @id out");
            return Err(at(source, Some(span), message));
        }
        overrides.push((name, literal(module, init)));
    }
    Ok(overrides)
}

/// The value of a literal; `None` for an expression.
fn literal(module: &naga::Module, expression: Handle<naga::Expression>) -> Option<f64> {
    let naga::Expression::Literal(literal) = module.global_expressions[expression] else {
        return None;
    };
    match literal {
        naga::Literal::F32(value) => Some(value.into()),
        naga::Literal::U32(value) => Some(value.into()),
        naga::Literal::I32(value) => Some(value.into()),
        naga::Literal::Bool(value) => Some(value.into()),
        _ => None,
    }
}

/// An error at a span, or about the file where naga knows no place.
fn at(source: &Source, span: Option<Span>, message: String) -> Error {
    match span.and_then(Span::to_range) {
        Some(range) => source.error_at(range.start, message),
        None => source.error(message),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}
