use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::tensor::Node;
use crate::{Backward, Error, Result, Tensor};

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(true) };
}

/// Whether operations leave nodes on the tape.
pub(crate) fn recording() -> bool {
    RECORDING.get()
}

/// Runs `f` without the tape: nothing in it can be differentiated, and nothing is kept for that.
pub fn no_grad<T>(f: impl FnOnce() -> T) -> T {
    /// Restores the state on unwinding too.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            RECORDING.set(self.0);
        }
    }
    let _restore = Restore(RECORDING.replace(false));
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
    let mut found = sweep(output, |tensor| wanted.contains(&tensor.id()))?;
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
            sweep(self, |tensor| {
                tensor.node().is_none() && tensor.requires_grad()
            })
        })
    }
}

/// Goes backward from `output`, through the nodes that lead to `wanted` tensors and no others.
fn sweep(output: &Tensor, wanted: impl Fn(&Tensor) -> bool) -> Result<Gradients> {
    if output.shape().len() != 1 {
        return Err(Error::NotScalar(output.shape()));
    }
    // Ids grow in the order of computation, so sorting by id sorts topologically.
    let graph = graph_below(output);
    let mut leads: HashSet<u64> = HashSet::new();
    for (id, tensor) in &graph {
        let node_leads = |node: &Node| node.inputs.iter().any(|input| leads.contains(&input.id()));
        if wanted(tensor) || tensor.node().is_some_and(node_leads) {
            leads.insert(*id);
        }
    }
    let mut gradients: HashMap<u64, Tensor> = HashMap::new();
    let mut kept: HashMap<u64, Tensor> = HashMap::new();
    if leads.contains(&output.id()) {
        let one = Tensor::full(output.shape(), 1.0, output.device())?;
        gradients.insert(output.id(), one);
    }
    for (id, tensor) in graph.iter().rev() {
        let Some(gradient) = gradients.remove(id) else {
            continue;
        };
        if let Some(node) = tensor.node() {
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
fn graph_below(output: &Tensor) -> BTreeMap<u64, Tensor> {
    let mut graph = BTreeMap::new();
    let mut open = vec![output.clone()];
    while let Some(tensor) = open.pop() {
        if !tensor.requires_grad() || graph.contains_key(&tensor.id()) {
            continue;
        }
        if let Some(node) = tensor.node() {
            open.extend(node.inputs.iter().cloned());
        }
        graph.insert(tensor.id(), tensor);
    }
    graph
}
