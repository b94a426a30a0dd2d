// Times CycleGAN's work in TensorFlow.js on a WebGPU adapter (Dawn, through the package `webgpu`).
//
//     npm ci
//     node peer.mjs step '{"size": 64, "ngf": 32, "ndf": 32, "blocks": 6, "batch": 1, "steps": 3}'
//     node peer.mjs translation '{"size": 64, "ngf": 32, "blocks": 6, "batch": 1, "steps": 3}'
//     node peer.mjs convolution '{"shape": [256, 256, 64, 3, 1, 1], "pass": "input gradient"}'
//
// A shape is channels in and out, side of the image, kernel, stride and padding. Prints a line of JSON:
// the median in seconds, how many runs it is of, and the adapter. The work's "flags" are TensorFlow.js's.

import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const gpu = create(['backend=vulkan']);
Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
// After the adapter's globals are there: the backend registers itself only if it sees them.
const tf = await import('@tensorflow/tfjs');
await import('@tensorflow/tfjs-backend-webgpu');

const normal = (shape) => tf.randomNormal(shape, 0, 0.02);
const picture = (batch, size) => tf.randomUniform([batch, size, size, 3], -1, 1);

/** Parameters are created on the first call, in the order of use, and used again in later ones. */
function network(forward) {
  const variables = [];
  let next;
  const parameter = (shape, make) => {
    if (next === variables.length) variables.push(tf.variable(make(shape)));
    return variables[next++];
  };
  const layers = {
    conv(x, channels, k, stride, pad) {
      const filter = parameter([k, k, x.shape[3], channels], normal);
      return tf.fused.conv2d({ x, filter, strides: stride, pad, bias: parameter([channels], tf.zeros) });
    },
    up(x, channels) {
      const [batch, height, width, depth] = x.shape;
      const filter = parameter([3, 3, channels, depth], normal);
      const y = tf.conv2dTranspose(x, filter, [batch, 2 * height, 2 * width, channels], 2, 1);
      return tf.add(y, parameter([channels], tf.zeros));
    },
  };
  const net = (x) => {
    next = 0;
    return forward(layers, x);
  };
  return Object.assign(net, { variables });
}

function norm(x) {
  const centred = tf.sub(x, tf.mean(x, [1, 2], true));
  return tf.mul(centred, tf.rsqrt(tf.add(tf.mean(tf.square(centred), [1, 2], true), 1e-5)));
}

/** TensorFlow.js's own gradient of mirrorPad leaves the mirrored border out; this one has it. */
const reflect = (x, p) => tf.customGrad((x) => ({
  value: tf.mirrorPad(x, [[0, 0], [p, p], [p, p], [0, 0]], 'reflect'),
  gradFunc: (dy) => fold(fold(dy, 1, p), 2, p),
}))(x);

function fold(dy, axis, p) {
  const n = dy.shape[axis] - 2 * p;
  const part = (from, count) => {
    const begin = dy.shape.map((_, i) => (i === axis ? from : 0));
    return tf.slice(dy, begin, dy.shape.map((whole, i) => (i === axis ? count : whole)));
  };
  const border = (from, before) => tf.pad(
    p > 1 ? tf.reverse(part(from, p), axis) : part(from, p),
    dy.shape.map((_, i) => (i === axis ? [before, n - p - before] : [0, 0])));
  return tf.addN([part(p, n), border(0, 1), border(p + n, n - 1 - p)]);
}

const generator = (c, blocks) => network(({ conv, up }, x) => {
  x = tf.relu(norm(conv(reflect(x, 3), c, 7, 1, 0)));
  x = tf.relu(norm(conv(x, 2 * c, 3, 2, 1)));
  x = tf.relu(norm(conv(x, 4 * c, 3, 2, 1)));
  for (let i = 0; i < blocks; i++) {
    const y = tf.relu(norm(conv(reflect(x, 1), 4 * c, 3, 1, 0)));
    x = tf.add(x, norm(conv(reflect(y, 1), 4 * c, 3, 1, 0)));
  }
  x = tf.relu(norm(up(x, 2 * c)));
  x = tf.relu(norm(up(x, c)));
  return tf.tanh(conv(reflect(x, 3), 3, 7, 1, 0));
});

const discriminator = (c) => network(({ conv }, x) => {
  x = tf.leakyRelu(conv(x, c, 4, 2, 1), 0.2);
  for (const [channels, stride] of [[2 * c, 2], [4 * c, 2], [8 * c, 1]]) {
    x = tf.leakyRelu(norm(conv(x, channels, 4, stride, 1)), 0.2);
  }
  return conv(x, 1, 4, 1, 1);
});

function step({ size, ngf, ndf, blocks, batch }) {
  const [gA, gB] = [generator(ngf, blocks), generator(ngf, blocks)];
  const [dA, dB] = [discriminator(ndf), discriminator(ndf)];
  const [realA, realB] = [picture(batch, size), picture(batch, size)];
  for (const net of [gA, gB, dA, dB]) tf.tidy(() => void net(realA));
  const [adamG, adamD] = [tf.train.adam(2e-4, 0.5, 0.999), tf.train.adam(2e-4, 0.5, 0.999)];
  const gan = (answer, real) => tf.mean(tf.square(tf.sub(answer, real)));
  const l1 = (a, b, weight) => tf.mul(tf.mean(tf.abs(tf.sub(a, b))), weight);
  return async () => {
    const kept = [];
    const lossG = adamG.minimize(() => {
      const [fakeB, fakeA] = [gA(realA), gB(realB)];
      kept.push(tf.keep(fakeB), tf.keep(fakeA));
      return tf.addN([
        gan(dA(fakeB), 1), gan(dB(fakeA), 1), l1(gB(fakeB), realA, 10), l1(gA(fakeA), realB, 10),
        l1(gA(realB), realB, 5), l1(gB(realA), realA, 5),
      ]);
    }, true, [...gA.variables, ...gB.variables]);
    const [fakeB, fakeA] = kept;
    const lossD = adamD.minimize(() => tf.mul(0.5, tf.addN([
      gan(dA(realB), 1), gan(dA(fakeB), 0), gan(dB(realA), 1), gan(dB(fakeA), 0),
    ])), true, [...dA.variables, ...dB.variables]);
    const losses = [...await lossG.data(), ...await lossD.data()];
    await tf.backend().queue.onSubmittedWorkDone();
    tf.dispose([lossG, lossD, ...kept]);
    return losses;
  };
}

function translation({ size, ngf, blocks, batch }) {
  const net = generator(ngf, blocks);
  const real = picture(batch, size);
  return async () => {
    const fake = tf.tidy(() => net(real));
    const values = await fake.data();
    fake.dispose();
    return [values[0]];
  };
}

function convolution({ shape: [c, m, side, k, stride, pad], pass }) {
  const x = tf.randomNormal([1, side, side, c]);
  const filter = tf.randomNormal([k, k, c, m]);
  const bias = tf.randomNormal([m]);
  const out = (side + 2 * pad - k) / stride + 1 | 0;
  const dy = tf.randomNormal([1, out, out, m]);
  const attrs = { strides: stride, pad, dataFormat: 'NHWC' };
  const passes = {
    forward: () => tf.fused.conv2d({ x, filter, ...attrs, bias }),
    'input gradient': () => tf.engine().runKernel(
      'Conv2DBackpropInput', { dy, filter }, { ...attrs, inputShape: x.shape }),
    'weight gradient': () => tf.engine().runKernel(
      'Conv2DBackpropFilter', { x, dy }, { ...attrs, filterShape: filter.shape }),
  };
  return async () => {
    // A result is not read back, which can take longer than a small convolution: one number of it is.
    const [result, first] = tf.tidy(() => {
      const result = passes[pass]();
      return [result, tf.slice(result, [0, 0, 0, 0], [1, 1, 1, 1])];
    });
    const values = await first.data();
    tf.dispose([result, first]);
    return [...values];
  };
}

/** The median of `runs` after warming up; unless given, of as many as fit in two seconds, two at least. */
async function median(work, runs) {
  let values;
  const once = async () => {
    const start = performance.now();
    values = await work();
    return (performance.now() - start) / 1e3;
  };
  // The first run compiles the shaders; the second one tells how long a run takes.
  await once();
  const each = await once();
  runs ??= Math.min(50, Math.max(2, Math.round(2 / each)));
  const times = [];
  while (times.length < runs) times.push(await once());
  times.sort((a, b) => a - b);
  const seconds = (times[(runs - 1) >> 1] + times[runs >> 1]) / 2;
  return { seconds, runs, values };
}

const [name, json] = process.argv.slice(2);
const setting = JSON.parse(json);
for (const [flag, value] of Object.entries(setting.flags ?? {})) tf.env().set(flag, value);
if (!await tf.setBackend('webgpu')) throw new Error('there is no WebGPU adapter');
const { device } = tf.backend();
// What is invalid is not run, and quickly so.
device.addEventListener('uncapturederror', ({ error }) => {
  console.error(error.message);
  process.exit(1);
});
const { seconds, runs, values } = await median({ step, translation, convolution }[name](setting), setting.steps);
const caveat = values.every(Number.isFinite) ? undefined : `computes ${values}`;
console.log(JSON.stringify({ seconds, runs, caveat, adapter: device.adapterInfo.description }));
// Dawn's instance would keep the process alive.
process.exit(0);
