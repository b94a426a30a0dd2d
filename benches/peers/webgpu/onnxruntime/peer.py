"""Times CycleGAN's work in ONNX Runtime's WebGPU execution provider, the forward passes only: it does not train.

    pip install -r requirements.txt        (in a virtual environment: other builds of onnxruntime clash)
    python peer.py translation '{"size": 64, "ngf": 32, "blocks": 6, "batch": 1, "steps": 3}'
    python peer.py convolution '{"shape": [256, 256, 64, 3, 1, 1]}'

A shape is channels in and out, side of the image, kernel, stride and padding. Prints a line of JSON: the
median in seconds and how many runs it is of. A node that would fall back to the processor is an error.
"""

import json
import statistics
import sys
import time

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

RANDOM = numpy.random.default_rng(0)
PROVIDER = {"dawnBackendType": "Vulkan", "validationMode": "disabled"}


class Graph:
    """Nodes in the order of their calls; each call gives the name of its result."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def weights(self, *shape):
        return self.constant(RANDOM.normal(0, 0.02, shape).astype("f"))

    def node(self, kind, *inputs, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def conv(self, x, c, m, k, stride=1, padding=0):
        return self.node("Conv", x, self.weights(m, c, k, k), self.weights(m), kernel_shape=[k, k],
                         strides=[stride] * 2, pads=[padding] * 4)

    def up(self, x, c, m):
        return self.node("ConvTranspose", x, self.weights(c, m, 3, 3), self.weights(m), kernel_shape=[3, 3],
                         strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])

    def reflect(self, x, p):
        pads = self.constant(numpy.array([0, 0, p, p] * 2))
        return self.node("Pad", x, pads, mode="reflect")

    def norm(self, x, c):
        scale, bias = numpy.ones(c, "f"), numpy.zeros(c, "f")
        return self.node("InstanceNormalization", x, self.constant(scale), self.constant(bias))

    def session(self, output, shape):
        graph = helper.make_graph(
            self.nodes, "peer", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, [("WebGpuExecutionProvider", PROVIDER)])
        session.disable_fallback()
        return session


def translation(size, ngf, blocks, batch, **_):
    graph, c = Graph(), ngf
    relu = lambda x, c: graph.node("Relu", graph.norm(x, c))
    x = relu(graph.conv(graph.reflect("x", 3), 3, c, 7), c)
    x = relu(graph.conv(x, c, 2 * c, 3, 2, 1), 2 * c)
    x = relu(graph.conv(x, 2 * c, 4 * c, 3, 2, 1), 4 * c)
    for _ in range(blocks):
        y = relu(graph.conv(graph.reflect(x, 1), 4 * c, 4 * c, 3), 4 * c)
        y = graph.norm(graph.conv(graph.reflect(y, 1), 4 * c, 4 * c, 3), 4 * c)
        x = graph.node("Add", x, y)
    x = relu(graph.up(x, 4 * c, 2 * c), 2 * c)
    x = relu(graph.up(x, 2 * c, c), c)
    x = graph.node("Tanh", graph.conv(graph.reflect(x, 3), c, 3, 7))
    return graph, x, [batch, 3, size, size]


def convolution(shape, **_):
    c, m, side, k, stride, padding = shape
    graph = Graph()
    y = graph.conv("x", c, m, k, stride, padding)
    # A result is not read back, which can take longer than a small convolution: one number of it is.
    one, end = graph.constant(numpy.zeros(4, "q")), graph.constant(numpy.ones(4, "q"))
    return graph, graph.node("Slice", y, one, end), [1, c, side, side]


def main():
    work, setting = sys.argv[1], json.loads(sys.argv[2])
    graph, output, shape = dict(translation=translation, convolution=convolution)[work](**setting)
    session = graph.session(output, shape)
    x = RANDOM.uniform(-1, 1, shape).astype("f")

    def once():
        start = time.perf_counter()
        session.run(None, {"x": x})
        return time.perf_counter() - start

    once()
    runs = setting.get("steps") or min(50, max(2, round(2 / once())))
    seconds = statistics.median(once() for _ in range(runs))
    print(json.dumps(dict(seconds=seconds, runs=runs, providers=session.get_providers())))


if __name__ == "__main__":
    main()
