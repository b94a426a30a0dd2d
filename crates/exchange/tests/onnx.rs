//! That a network's description does what the network does, and that ONNX files are built as they should be.
//! `tests/onnx_exports.py` runs such files.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use cyclegan::{Config, Generator, GeneratorKind, Preset, Stream, Upsampling};
use nn::{Graph, Module, Norm, Operation, Value};
use tensor::ops::Interpolation;
use tensor::{Device, Result, Tensor};

fn generator(kind: GeneratorKind, norm: Norm, upsampling: Upsampling) -> Generator {
    let config = Config {
        generator: kind,
        norm,
        upsampling,
        dropout: true,
        ngf: 2,
        ..Config::preset(Preset::Paper)
    };
    let mut weights = nn::Weights {
        init: nn::Init::Normal,
        gain: 0.2,
        rng: &mut cyclegan::rng(1, Stream::Weights, 0),
        device: &Device::Cpu,
    };
    let generator = cyclegan::generator(&config, [3, 3], &mut weights).unwrap();
    // Factors of one and summands of zero could be forgotten.
    generator.visit("", &mut |_, param| {
        let shape = param.shape();
        let values = (0..shape.len()).map(|i| 0.01 * (i % 17) as f32 - 0.05);
        let values = Tensor::from_slice(&values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap();
        param.set(&param.get().add(&values).unwrap().detach());
    });
    generator
}

const KINDS: [GeneratorKind; 4] = [
    GeneratorKind::Resnet6blocks,
    GeneratorKind::Resnet9blocks,
    GeneratorKind::Unet128,
    GeneratorKind::Unet256,
];
const NORMS: [Norm; 4] = [
    Norm::Instance,
    Norm::InstanceAffine,
    Norm::Batch,
    Norm::None,
];

/// What a description says to do with `x`.
fn follow(graph: &Graph, x: &Tensor) -> Result<Tensor> {
    let mut values: HashMap<usize, Tensor> = HashMap::new();
    for (value, step) in graph.steps() {
        let input = |i: usize| &values[&Value::number(step.inputs[i])];
        let y = match &step.operation {
            Operation::Input => x.clone(),
            Operation::Conv2d {
                weight,
                bias,
                stride,
                padding,
            } => {
                let bias = bias.as_ref().map(|bias| bias.1.get());
                input(0).conv2d(&weight.1.get(), bias.as_ref(), *stride, *padding)?
            }
            Operation::ConvTranspose2d {
                weight,
                bias,
                stride,
                padding,
                output_padding,
            } => {
                let bias = bias.as_ref().map(|bias| bias.1.get());
                input(0).conv_transpose2d(
                    &weight.1.get(),
                    bias.as_ref(),
                    *stride,
                    *padding,
                    *output_padding,
                )?
            }
            Operation::InstanceNorm { affine, eps } => match affine {
                Some([gamma, beta]) => {
                    input(0).instance_norm_affine(&gamma.1.get(), &beta.1.get(), *eps)?
                }
                None => input(0).instance_norm(*eps)?,
            },
            Operation::BatchNorm { tensors, eps } => {
                let x = input(0);
                let [weight, bias, mean, var] = tensors.each_ref().map(|(_, param)| {
                    let channels = param.get().reshape([1, step.channels, 1, 1]);
                    channels.and_then(|channels| channels.expand(x.shape()))
                });
                let scale = var?.scale_add(1.0, *eps)?.rsqrt()?.mul(&weight?)?;
                x.sub(&mean?)?.mul(&scale)?.add(&bias?)?
            }
            Operation::UpsampleNearest(factor) => {
                input(0).upsample(Interpolation::Nearest, *factor)?
            }
            Operation::ReflectionPad2d(side) => input(0).reflection_pad2d(*side)?,
            Operation::Activation(activation) => input(0).activation(*activation)?,
            Operation::Add => input(0).add(input(1))?,
            Operation::Concat => Tensor::concat(&[input(0), input(1)], 1)?,
        };
        assert_eq!(y.shape().nchw()[1], step.channels);
        values.insert(value.number(), y);
    }
    Ok(values[&graph.output().number()].clone())
}

#[test]
fn descriptions_do_what_networks_do() {
    for kind in KINDS {
        for (norm, upsampling) in NORMS
            .map(|norm| (norm, Upsampling::Transposed))
            .into_iter()
            .chain([(Norm::Instance, Upsampling::Resize)])
        {
            let generator = generator(kind, norm, upsampling);
            let side = kind.multiple_of().max(16);
            let shape = [1, 3, side, side];
            let pixels = (0..3 * side * side).map(|i| (i as f32 * 0.37).sin());
            let x = Tensor::from_slice(&pixels.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap();
            let expected = generator.forward(&x).unwrap().to_vec().unwrap();
            let found = follow(&Graph::of(&generator, 3).unwrap(), &x).unwrap();
            let found = found.to_vec().unwrap();
            let pairs = found.iter().zip(&expected);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{kind:?} {norm:?}: {worst}");
        }
    }
}

/// The fields of a message.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Int(varint(&mut bytes)),
            2 => {
                let len = varint(&mut bytes) as usize;
                let (content, rest) = bytes.split_at(len);
                bytes = rest;
                Field::Bytes(content)
            }
            5 => {
                bytes = &bytes[4..];
                Field::Float
            }
            other => panic!("a field of kind {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

#[derive(Clone, Copy)]
enum Field<'a> {
    Int(u64),
    Float,
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            _ => panic!("no bytes"),
        }
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn of(message: &[u8], number: u64) -> impl Iterator<Item = Field<'_>> {
    let fields = fields(message).into_iter();
    fields.filter_map(move |(found, field)| (found == number).then_some(field))
}

#[test]
fn files_say_what_the_documentation_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let affine = generator(
        GeneratorKind::Resnet6blocks,
        Norm::InstanceAffine,
        Upsampling::Transposed,
    );
    let metadata = [("direction", "AtoB".into())];
    exchange::onnx::write(&path, &affine, [3, 3], &metadata).unwrap();
    let model = fs::read(&path).unwrap();
    let ints = |number| of(&model, number).map(|field| matches!(field, Field::Int(8)));
    assert_eq!(ints(1).collect::<Vec<_>>(), [true], "the IR version");
    let opset = of(&model, 8).next().unwrap().bytes();
    assert!(matches!(of(opset, 2).next(), Some(Field::Int(17))));
    let entry = of(&model, 14).next().unwrap().bytes();
    assert_eq!(
        [1, 2].map(|number| of(entry, number).next().unwrap().text()),
        ["direction", "AtoB"]
    );

    let graph = of(&model, 7).next().unwrap().bytes();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut known = vec!["input".to_owned()];
    known.extend(of(graph, 5).map(|tensor| of(tensor.bytes(), 8).next().unwrap().text()));
    for node in of(graph, 1) {
        let node = node.bytes();
        *counts
            .entry(of(node, 4).next().unwrap().text())
            .or_default() += 1;
        for input in of(node, 1).map(Field::text) {
            assert!(known.contains(&input), "{input} comes out of nowhere");
        }
        known.push(of(node, 2).next().unwrap().text());
    }
    assert_eq!(known.last().unwrap(), "output");
    let expected = [
        ("Add", 6),
        ("Conv", 16),
        ("ConvTranspose", 2),
        ("InstanceNormalization", 17),
        ("Pad", 14),
        ("Relu", 11),
        ("Tanh", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts, BTreeMap::from(expected));

    let mut parameters = 0;
    affine.visit("", &mut |name, param| {
        let tensor = of(graph, 5).map(Field::bytes);
        let mut tensor = tensor.filter(|tensor| of(tensor, 8).next().unwrap().text() == name);
        let tensor = tensor.next().unwrap();
        let bytes = of(tensor, 9).next().unwrap().bytes();
        let (values, _) = bytes.as_chunks::<4>();
        let values: Vec<f32> = values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        assert_eq!(values, param.get().to_vec().unwrap(), "{name}");
        parameters += 1;
    });
    assert_eq!(parameters, 70);
}

#[test]
fn a_layer_that_does_not_say_what_it_does_is_named() {
    struct Opaque;
    impl Module for Opaque {
        fn forward(&self, x: &Tensor) -> Result<Tensor> {
            Ok(x.clone())
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.onnx");
    let error = exchange::onnx::write(&path, &Opaque, [3, 3], &[]).unwrap_err();
    assert!(error.to_string().contains("Opaque"), "{error}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}
