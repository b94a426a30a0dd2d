//! Networks as ONNX files, for the runtimes that read these.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use nn::{Activation, Graph, Module, Named, Operation, Step, Value};

use crate::protobuf::Message;
use crate::{Error, write_whole};

/// The version of the format that is written.
pub const IR_VERSION: i64 = 8;
/// The version of the set of operations that is used: all of it is in that of January 2022, and in later ones.
pub const OPSET: i64 = 17;

/// What a file is made with; readers of protocol buffers take no more.
const MOST_BYTES: usize = i32::MAX as usize;

/// `TensorProto.DataType`
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// Writes a network of pictures, `input` N×C×H×W to `output` of the same size; N, H and W are free, as far as
/// the network takes them, and `channels` are the C of both. `metadata` stand in the file's `metadata_props`.
///
/// # Errors
/// When a layer does not say what it does, the network is larger than the format takes (2 GiB), the file can't
/// be written or a device fails.
pub fn write(
    path: &Path,
    network: &dyn Module,
    channels: [usize; 2],
    metadata: &[(&str, String)],
) -> Result<(), Error> {
    let graph = Graph::of(network, channels[0])?;
    let mut writer = Writer::default();
    for (value, step) in graph.steps() {
        let output = name(&graph, value);
        let inputs: Vec<String> = step
            .inputs
            .iter()
            .map(|input| name(&graph, *input))
            .collect();
        writer.step(step, &inputs, &output)?;
    }
    let graph = writer.finish(channels);
    let opset = Message::default().text(1, "").int(2, OPSET);
    let mut model = Message::default()
        .int(1, IR_VERSION)
        .text(2, "henshin")
        .text(3, env!("CARGO_PKG_VERSION"))
        .message(8, opset);
    for (key, value) in metadata {
        model = model.message(14, Message::default().text(1, key).text(2, value));
    }
    let model = model.message(7, graph).finish();
    write_whole(path, |file| match model.len() <= MOST_BYTES {
        true => file.write_all(&model),
        false => Err(io::Error::other(
            "ONNX takes no more than 2 GiB in one file",
        )),
    })
}

/// A value's name in the file.
fn name(graph: &Graph, value: Value) -> String {
    match value.number() {
        _ if value == graph.output() => "output".into(),
        0 => "input".into(),
        number => format!("value_{number}"),
    }
}

/// A graph in the making.
#[derive(Default)]
struct Writer {
    nodes: Message,
    /// By their names: some nodes share them.
    constants: BTreeMap<String, Message>,
}

impl Writer {
    /// Writes an operation: the one place that says which of ONNX's it is.
    fn step(&mut self, step: &Step, inputs: &[String], output: &str) -> Result<(), Error> {
        let mut inputs: Vec<String> = inputs.to_vec();
        let pair = |side: usize| ints(&[side, side]);
        let all_sides = |side: usize| ints(&[side; 4]);
        let (kind, attributes) = match &step.operation {
            Operation::Input => return Ok(()),
            Operation::Conv2d {
                weight,
                bias,
                stride,
                padding,
            } => {
                inputs.extend(self.parameters([weight])?);
                if let Some(bias) = bias {
                    inputs.extend(self.parameters([bias])?);
                }
                let attributes = vec![("strides", pair(*stride)), ("pads", all_sides(*padding))];
                ("Conv", attributes)
            }
            Operation::ConvTranspose2d {
                weight,
                bias,
                stride,
                padding,
                output_padding,
            } => {
                inputs.extend(self.parameters([weight])?);
                if let Some(bias) = bias {
                    inputs.extend(self.parameters([bias])?);
                }
                let attributes = vec![
                    ("strides", pair(*stride)),
                    ("pads", all_sides(*padding)),
                    ("output_padding", pair(*output_padding)),
                ];
                ("ConvTranspose", attributes)
            }
            Operation::InstanceNorm { affine, eps } => {
                // ONNX has no norm without factors and summands.
                let affine = match affine {
                    Some([gamma, beta]) => self.parameters([gamma, beta])?,
                    None => [("ones", 1.0), ("zeros", 0.0)].map(|(name, value)| {
                        let values = vec![value; step.channels];
                        self.floats(
                            format!("{name}_{}", step.channels),
                            &[step.channels],
                            &values,
                        )
                    }),
                };
                inputs.extend(affine);
                ("InstanceNormalization", vec![("epsilon", float(*eps))])
            }
            Operation::BatchNorm { tensors, eps } => {
                inputs.extend(self.parameters(tensors.each_ref())?);
                ("BatchNormalization", vec![("epsilon", float(*eps))])
            }
            Operation::UpsampleNearest(factor) => {
                let side = *factor as f32;
                let scales = self.floats(format!("scales_{factor}"), &[4], &[1.0, 1.0, side, side]);
                // The second input is for another kind of resizing.
                inputs.extend([String::new(), scales]);
                let attributes = vec![
                    ("mode", text("nearest")),
                    ("coordinate_transformation_mode", text("asymmetric")),
                    ("nearest_mode", text("floor")),
                ];
                ("Resize", attributes)
            }
            Operation::ReflectionPad2d(side) => {
                // Before and behind each dimension.
                let side = *side as i64;
                let pads = [0, 0, side, side, 0, 0, side, side];
                inputs.push(self.integers(format!("pads_{side}"), &pads));
                ("Pad", vec![("mode", text("reflect"))])
            }
            Operation::Activation(activation) => match activation {
                Activation::Relu => ("Relu", vec![]),
                Activation::LeakyRelu(slope) => ("LeakyRelu", vec![("alpha", float(*slope))]),
                Activation::Tanh => ("Tanh", vec![]),
                Activation::Sigmoid => ("Sigmoid", vec![]),
            },
            Operation::Add => ("Add", vec![]),
            Operation::Concat => ("Concat", vec![("axis", int(1))]),
        };
        let mut node = Message::default();
        for input in &inputs {
            node = node.text(1, input);
        }
        node = node.text(2, output).text(3, output).text(4, kind);
        for (name, attribute) in attributes {
            node = node.message(5, attribute.text(1, name));
        }
        self.nodes = std::mem::take(&mut self.nodes).message(1, node);
        Ok(())
    }

    fn parameters<const N: usize>(&mut self, named: [&Named; N]) -> Result<[String; N], Error> {
        for (name, param) in named {
            let value = param.get();
            self.floats(name.clone(), value.shape().dims(), &value.to_vec()?);
        }
        Ok(named.map(|(name, _)| name.clone()))
    }

    fn floats(&mut self, name: String, shape: &[usize], values: &[f32]) -> String {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(name, FLOAT, shape, &bytes)
    }

    fn integers(&mut self, name: String, values: &[i64]) -> String {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(name, INT64, &[values.len()], &bytes)
    }

    fn constant(&mut self, name: String, kind: i64, shape: &[usize], bytes: &[u8]) -> String {
        self.constants.entry(name.clone()).or_insert_with(|| {
            let mut tensor = Message::default();
            for &extent in shape {
                tensor = tensor.int(1, extent as i64);
            }
            tensor.int(2, kind).text(8, &name).bytes(9, bytes)
        });
        name
    }

    /// The whole graph.
    fn finish(self, [from, to]: [usize; 2]) -> Message {
        let mut graph = self.nodes.text(2, "generator");
        for constant in self.constants.into_values() {
            graph = graph.message(5, constant);
        }
        graph
            .message(11, pictures("input", from))
            .message(12, pictures("output", to))
    }
}

/// A batch of pictures, of which the channels are all that is fixed.
fn pictures(name: &str, channels: usize) -> Message {
    let free = |name: &str| Message::default().text(2, name);
    let dims = [
        free("batch"),
        Message::default().int(1, channels as i64),
        free("height"),
        free("width"),
    ];
    let shape = dims
        .into_iter()
        .fold(Message::default(), |shape, dim| shape.message(1, dim));
    let tensor = Message::default().int(1, FLOAT).message(2, shape);
    let kind = Message::default().message(1, tensor);
    Message::default().text(1, name).message(2, kind)
}

// Attributes, which say of what type they are.

fn float(value: f32) -> Message {
    Message::default().float(2, value).int(20, 1)
}

fn int(value: i64) -> Message {
    Message::default().int(3, value).int(20, 2)
}

fn text(value: &str) -> Message {
    Message::default().text(4, value).int(20, 3)
}

fn ints(values: &[usize]) -> Message {
    let all = values.iter();
    all.fold(Message::default(), |message, &value| {
        message.int(8, value as i64)
    })
    .int(20, 7)
}
