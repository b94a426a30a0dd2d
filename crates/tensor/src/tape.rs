use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::op::{Array, CpuArray, GpuArray};
use crate::tensor::Node;
use crate::{Backward, Error, Op, Reads, Result, Shape, Tensor};

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(true) };
}

/// Whether operations leave nodes on the tape.
pub(crate) fn recording() -> bool {
    RECORDING.get()
}

/// Runs `f` without the tape: nothing in it can be differentiated, and nothing is kept for that.
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    with_recording(false, f)
}

fn with_recording<T>(on: bool, f: impl FnOnce() -> T) -> T {
    /// Restores the state on unwinding too.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
        }
    }
    let _restore = Restore(RECORDING.replace(on));
    f()
}

/// The gradients of a single value with respect to each tensor in `wrt`; zero where it does not
/// depend on one. Only what lies between is differentiated: a network whose parameters are not in
/// `wrt` costs no weight gradients.
///
/// # Errors
/// When `output` holds more than one value, or an operation in between has no gradient.
pub fn grad(output: &Tensor, wrt: &[&Tensor]) -> Result<Vec<Tensor>> {
    no_grad(|| gradients_of(output, wrt))
}

/// As [`grad`], with gradients that can be differentiated again.
///
/// # Errors
/// As [`grad`].
pub fn grad_with_graph(output: &Tensor, wrt: &[&Tensor]) -> Result<Vec<Tensor>> {
    gradients_of(output, wrt)
}

fn gradients_of(output: &Tensor, wrt: &[&Tensor]) -> Result<Vec<Tensor>> {
    let wanted: HashSet<u64> = wrt.iter().map(|tensor| tensor.id()).collect();
    let mut found = sweep(output, &one(output)?, None, |tensor| {
        wanted.contains(&tensor.id())
    })?;
    // Taken, not cloned: `wrt` may name a tensor twice, so the second time it is looked up below.
    let mut done: HashMap<u64, Tensor> = HashMap::new();
    wrt.iter()
        .map(|tensor| {
            if let Some(gradient) = found.0.remove(&tensor.id()) {
                done.insert(tensor.id(), gradient);
            }
            match done.get(&tensor.id()) {
                Some(gradient) => Ok(gradient.clone()),
                None => Tensor::zeros(tensor.shape(), tensor.device()),
            }
        })
        .collect()
}

/// Gradients by tensor, as [`Tensor::backward`] leaves them.
pub struct Gradients(HashMap<u64, Tensor>);

impl Gradients {
    /// The gradient with respect to a tensor; none if the output does not depend on it.
    pub fn get(&self, tensor: &Tensor) -> Option<&Tensor> {
        self.0.get(&tensor.id())
    }
}

impl Tensor {
    /// The gradients of this single value with respect to every tensor made by
    /// [`Tensor::with_grad`] that it depends on.
    ///
    /// # Errors
    /// As [`grad`].
    pub fn backward(&self) -> Result<Gradients> {
        no_grad(|| {
            sweep(self, &one(self)?, None, |tensor| {
                tensor.node().is_none() && tensor.requires_grad()
            })
        })
    }
}

/// The gradient of a single value with respect to itself.
fn one(output: &Tensor) -> Result<Tensor> {
    if output.shape().len() != 1 {
        return Err(Error::NotScalar(output.shape()));
    }
    Tensor::full(output.shape(), 1.0, output.device())
}

/// Goes backward from `output`, whose gradient is given, through the nodes that lead to `wanted` tensors
/// and no others; not beyond the tensor `end`.
fn sweep(
    output: &Tensor,
    gradient: &Tensor,
    end: Option<u64>,
    wanted: impl Fn(&Tensor) -> bool,
) -> Result<Gradients> {
    // Ids grow in the order of computation, so sorting by id sorts topologically.
    let node = |tensor: &Tensor| match Some(tensor.id()) == end {
        true => None,
        false => tensor.shared_node(),
    };
    let graph = graph_below(output, node);
    let mut leads: HashSet<u64> = HashSet::new();
    for (id, tensor) in &graph {
        let node_leads =
            |node: Arc<Node>| node.inputs.iter().any(|input| leads.contains(&input.id()));
        if wanted(tensor) || node(tensor).is_some_and(node_leads) {
            leads.insert(*id);
        }
    }
    let mut gradients: HashMap<u64, Tensor> = HashMap::new();
    let mut kept: HashMap<u64, Tensor> = HashMap::new();
    if leads.contains(&output.id()) {
        gradients.insert(output.id(), gradient.clone());
    }
    for (id, tensor) in graph.iter().rev() {
        let Some(gradient) = gradients.remove(id) else {
            continue;
        };
        if let Some(node) = node(tensor) {
            let needs: Vec<bool> = node
                .inputs
                .iter()
                .map(|input| leads.contains(&input.id()))
                .collect();
            let pass = Backward {
                inputs: &node.inputs,
                out: &tensor.with_kept_values(),
                grad: &gradient,
                needs: &needs,
            };
            for (input, part) in node.inputs.iter().zip(node.op.backward(&pass)?) {
                if let Some(part) = part {
                    let sum = match gradients.remove(&input.id()) {
                        Some(earlier) => earlier.add(&part)?,
                        None => part,
                    };
                    gradients.insert(input.id(), sum);
                }
            }
        }
        if wanted(tensor) {
            kept.insert(*id, gradient);
        }
    }
    Ok(Gradients(kept))
}

/// Everything `output` was computed from that may have a gradient, by id.
fn graph_below(
    output: &Tensor,
    node: impl Fn(&Tensor) -> Option<Arc<Node>>,
) -> BTreeMap<u64, Tensor> {
    let mut graph = BTreeMap::new();
    let mut open = vec![output.clone()];
    while let Some(tensor) = open.pop() {
        if !tensor.requires_grad() || graph.contains_key(&tensor.id()) {
            continue;
        }
        if let Some(node) = node(&tensor) {
            open.extend(node.inputs.iter().cloned());
        }
        graph.insert(tensor.id(), tensor);
    }
    graph
}

/// What `f` makes of `x`, with a gradient that takes time for memory (Chen, Xu, Zhang & Guestrin, 2016,
/// "Training Deep Nets with Sublinear Memory Cost"): nothing inside of `f` is kept but `x`; the backward
/// pass runs `f` again. `parameters` are the tensors beside `x` that `f` uses and gradients are asked for.
/// `f` must give the same then, so they should not be replaced in between. Where `f` uses each of them once
/// gradients are the same bit for bit.
///
/// # Errors
/// Those of `f`.
pub fn checkpoint(
    x: &Tensor,
    parameters: &[Tensor],
    f: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let out = no_grad(|| f(x))?;
    let inputs: Vec<&Tensor> = std::iter::once(x).chain(parameters).collect();
    Ok(out.record(Arc::new(Segment(Box::new(f))), &inputs))
}

/// See [`checkpoint`]. Its inputs are `x` and the parameters.
struct Segment(Box<Function>);

type Function = dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync;

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Segment")
    }
}

impl Op for Segment {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn shape(&self, _: &[Shape]) -> Result<Shape> {
        unreachable!("`checkpoint` runs the function itself")
    }

    fn cpu(&self, _: &[CpuArray<'_>], _: Array<&mut [f32]>) {
        unreachable!("`checkpoint` runs the function itself")
    }

    fn gpu(&self, _: &gpu::Context, _: &[GpuArray<'_>], _: GpuArray<'_>) -> Result<()> {
        unreachable!("`checkpoint` runs the function itself")
    }

    fn reads(&self) -> Reads {
        Reads::Inputs
    }

    fn backward(&self, pass: &Backward<'_>) -> Result<Vec<Option<Tensor>>> {
        let x = &pass.inputs[0];
        let out = with_recording(true, || (self.0)(x))?;
        let needed = pass.inputs.iter().zip(pass.needs);
        let needed: HashSet<u64> = needed
            .filter_map(|(input, &needs)| needs.then_some(input.id()))
            .collect();
        let mut found = sweep(&out, pass.grad, Some(x.id()), |tensor| {
            needed.contains(&tensor.id())
        })?;
        let inputs = pass.inputs.iter();
        Ok(inputs.map(|input| found.0.remove(&input.id())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::from_slice(values, [values.len()], &Device::Cpu)
            .unwrap()
            .with_grad()
    }

    /// x·w·w + x, recomputed or not.
    fn function(x: &Tensor, w: &Tensor, recomputed: bool) -> Tensor {
        let inner = w.clone();
        let f = move |x: &Tensor| x.mul(&inner)?.mul(&inner)?.add(x);
        match recomputed {
            true => checkpoint(x, std::slice::from_ref(w), f).unwrap(),
            false => f(x).unwrap(),
        }
    }

    #[test]
    fn a_checkpointed_segment_has_the_same_gradients_and_second_ones() {
        let (x, w) = (tensor(&[1.0, -2.0, 0.5]), tensor(&[0.3, 0.7, -1.1]));
        let all = |recomputed: bool| -> Vec<Vec<f32>> {
            // Twice, so that what one segment is computed from depends on the parameter of both.
            let once = function(&x, &w, recomputed);
            let twice = function(&once, &w, recomputed);
            let loss = twice.mul(&twice).unwrap().sum().unwrap();
            let first = grad_with_graph(&loss, &[&x, &w]).unwrap();
            let sum = first[0].mul(&first[1]).unwrap().sum().unwrap();
            let second = grad(&sum, &[&x, &w]).unwrap();
            let plain = grad(&loss, &[&w]).unwrap();
            let tensors = first.iter().chain(&second).chain(&plain);
            tensors.map(|tensor| tensor.to_vec().unwrap()).collect()
        };
        // A segment's parts of a gradient are added first: where it uses a tensor twice, sums round differently.
        for (again, kept) in all(true).concat().iter().zip(all(false).concat()) {
            assert!((again - kept).abs() <= 1e-5 * kept.abs(), "{again} {kept}");
        }
    }

    #[test]
    fn a_segment_keeps_nothing_but_its_input() {
        let device = &Device::Cpu;
        let kept = |recomputed: bool| {
            device.dry_run(|device| {
                let [x, w] = [(); 2].map(|()| Tensor::zeros([1000], device).unwrap().with_grad());
                let before = device.memory().in_use;
                let _out = function(&x, &w, recomputed);
                device.memory().in_use - before
            })
        };
        assert!(
            kept(true) < kept(false),
            "{} of {}",
            kept(true),
            kept(false)
        );
    }
}
