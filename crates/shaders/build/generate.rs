//! Writes the Rust constants.

use crate::kernel::Kernel;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One module a folder, one constant a kernel, and `ALL`.
pub fn rust(kernels: &[Kernel]) -> String {
    let mut root = Module::default();
    let mut all = String::new();
    for kernel in kernels {
        let mut path: Vec<&str> = kernel.name.split('/').collect();
        let constant = path.pop().unwrap_or_default().to_uppercase();
        let mut module = &mut root;
        for &folder in &path {
            module = module.modules.entry(folder).or_default();
        }
        let folders: String = path.iter().map(|folder| format!("{folder}::")).collect();
        writeln!(all, "    &{folders}{constant},").expect("writes to a String");
        module.constants.push(constant_for(kernel, &constant));
    }
    let mut code = root.rust("");
    write!(
        code,
        "\n/// Every kernel, sorted by name.\npub const ALL: &[&Kernel] = &[\n{all}];\n"
    )
    .expect("writes to a String");
    code
}

#[derive(Default)]
struct Module<'a> {
    modules: BTreeMap<&'a str, Module<'a>>,
    constants: Vec<String>,
}

impl Module<'_> {
    fn rust(&self, path: &str) -> String {
        let mut code = self.constants.concat();
        for (name, module) in &self.modules {
            let path = format!("{path}{name}/");
            let body = module.rust(&path);
            write!(
                code,
                "\n/// Kernels of `shaders/{path}`.\npub mod {name} {{\n\
                 #![allow(unused_imports, rustdoc::broken_intra_doc_links)]\nuse crate::{{Binding, Kernel, Override}};\n{body}}}\n"
            )
            .expect("writes to a String");
        }
        code
    }
}

fn constant_for(kernel: &Kernel, constant: &str) -> String {
    let mut docs = String::new();
    for line in &kernel.docs {
        writeln!(docs, "#[doc = {:?}]", format!(" {line}")).expect("writes to a String");
    }
    if kernel.docs.is_empty() {
        docs = format!("#[doc = \" `shaders/{}.wgsl`\"]\n", kernel.name);
    }
    let bindings: Vec<String> = kernel
        .bindings
        .iter()
        .map(|binding| format!("Binding::{binding:?}"))
        .collect();
    let reals: Vec<String> = kernel
        .reals
        .iter()
        .map(|name| format!("{name:?}"))
        .collect();
    let overrides: Vec<String> = kernel
        .overrides
        .iter()
        .map(|(name, default)| format!("Override {{ name: {name:?}, default: {default:?} }}"))
        .collect();
    format!(
        "\n{docs}pub const {constant}: Kernel = Kernel {{\n    name: {name:?},\n    \
         source: {source:?},\n    params_size: {params},\n    bindings: &[{bindings}],\n    \
         reals: &[{reals}],\n    overrides: &[{overrides}],\n    workgroup_size: {size:?},\n    \
         workgroup_memory: {memory},\n    subgroups: {subgroups},\n}};\n",
        name = kernel.name,
        source = kernel.source,
        params = kernel.params_size,
        bindings = bindings.join(", "),
        reals = reals.join(", "),
        overrides = overrides.join(", "),
        size = kernel.workgroup_size,
        memory = kernel.workgroup_memory,
        subgroups = kernel.subgroups,
    )
}
