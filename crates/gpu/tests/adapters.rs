//! The engine on every adapter of this machine.

use gpu::testing::{adapters_for_tests, destroy, run, trials};
use gpu::{Buffer, Checks, Choice, Context, Dispatch, Error, Options, Precision, adapters, fold};
use libtest_mimic::{Failed, Trial};
use shaders::{Binding, Kernel, Override};
use std::process::ExitCode;
use std::time::Duration;

type Outcome = Result<(), Failed>;
type Test = fn(&Context) -> Outcome;

fn main() -> ExitCode {
    let tests: [(&str, Test); 18] = [
        ("fill", fill),
        ("round trips of all lengths", round_trips),
        (
            "buffers are freed and reused within a recording",
            reuse_within_a_recording,
        ),
        ("an upload spares what is recorded", uploads_and_recordings),
        ("a download keeps what was", downloads_and_later_writes),
        ("more workgroups than a dimension has", folded),
        ("overrides", overrides),
        ("profile", profile),
        ("refusals", refusals),
        ("half precision", half_precision),
        ("a kernel that does not compile", broken_kernel),
        ("oversized buffers are refused", oversized),
        ("memory is limited, counted and trimmed", memory),
        ("a dry context counts as the real one does", dry),
        ("a destroyed device is an error", destroyed),
        ("many threads", threads),
        ("unchecked kernels", unchecked),
        ("opening by name", open_by_name),
    ];
    let mut all: Vec<Trial> = tests
        .into_iter()
        .flat_map(|(name, test)| trials(name, test))
        .collect();
    all.push(Trial::test("names without an adapter", wrong_names));
    all.push(Trial::test(
        "contexts open in many threads",
        open_in_threads,
    ));
    run(all)
}

/// `out[i] = WEIGHT * input[i] + params.bias`
const SCALE: Kernel = Kernel {
    name: "test/scale",
    source: "
        struct Params { len: u32, bias: f32 }
        @group(0) @binding(0) var<uniform> params: Params;
        @group(0) @binding(1) var<storage, read> input: array<real_input>;
        @group(0) @binding(2) var<storage, read_write> out: array<real_out>;
        override WEIGHT: f32 = 1.0;
        override WORKGROUP: u32 = 64u;
        @compute @workgroup_size(WORKGROUP)
        fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                @builtin(local_invocation_index) local: u32) {
            let i = (group.y * groups.x + group.x) * WORKGROUP + local;
            if i < params.len { out[i] = real_out(WEIGHT * f32(input[i]) + params.bias); }
        }",
    params_size: 8,
    bindings: &[Binding::Uniform, Binding::Read, Binding::ReadWrite],
    reals: &[Some("real_input"), Some("real_out")],
    overrides: &[
        Override {
            name: "WEIGHT",
            default: Some(1.0),
        },
        Override {
            name: "WORKGROUP",
            default: Some(64.0),
        },
    ],
    workgroup_size: [64, 1, 1],
    workgroup_memory: 0,
    subgroups: false,
};

/// `data[i] += 1`, for one workgroup, without parameters.
const INCREMENT: Kernel = Kernel {
    name: "test/increment",
    source: "
        @group(0) @binding(1) var<storage, read_write> data: array<f32>;
        @compute @workgroup_size(64)
        fn main(@builtin(local_invocation_index) i: u32) {
            if i < arrayLength(&data) { data[i] += 1.0; }
        }",
    params_size: 0,
    bindings: &[Binding::ReadWrite],
    reals: &[None],
    overrides: &[],
    workgroup_size: [64, 1, 1],
    workgroup_memory: 0,
    subgroups: false,
};

fn params(len: usize, value: f32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_le_bytes());
    bytes
}

/// A new buffer with `weight * input + bias`.
fn scale(context: &Context, input: &Buffer, weight: f64, bias: f32) -> gpu::Result<Buffer> {
    let out = context.alloc(input.len())?;
    context.dispatch(Dispatch {
        kernel: &SCALE,
        overrides: &[("WEIGHT", weight)],
        params: &params(input.len(), bias),
        buffers: &[input, &out],
        groups: fold(input.len().div_ceil(64) as u64),
    })?;
    Ok(out)
}

fn fill_with(context: &Context, len: usize, value: f32) -> gpu::Result<Buffer> {
    let out = context.alloc(len)?;
    context.dispatch(Dispatch {
        kernel: &shaders::pointwise::FILL,
        overrides: &[],
        params: &params(len, value),
        buffers: &[&out],
        groups: fold(len.div_ceil(256) as u64),
    })?;
    Ok(out)
}

/// A context of one's own on the same adapter, for tests that count, limit or destroy.
fn own(context: &Context, options: &Options) -> gpu::Result<Context> {
    Context::open_with(&context.info().choice(), options)
}

fn fill(context: &Context) -> Outcome {
    let out = fill_with(context, 1000, 2.5)?;
    assert_eq!(context.download(&out)?, [2.5; 1000]);
    Ok(())
}

fn round_trips(context: &Context) -> Outcome {
    for len in [0, 1, 3, 4, 5, 63, 64, 65, 1000, 100_003] {
        let data: Vec<f32> = (0..len).map(|i| i as f32).collect();
        let buffer = context.upload(&data)?;
        assert_eq!(buffer.len(), len);
        assert_eq!(context.download(&buffer)?, data);
        let doubled: Vec<f32> = data.iter().map(|x| 2.0 * x + 1.0).collect();
        assert_eq!(
            context.download(&scale(context, &buffer, 2.0, 1.0)?)?,
            doubled
        );
    }
    Ok(())
}

/// Chains longer than a submission, whose links share a few pooled buffers.
fn reuse_within_a_recording(context: &Context) -> Outcome {
    let context = own(context, &Options::default())?;
    let mut downloads = Vec::new();
    for chain in 0..10 {
        let mut x = context.upload(&[chain as f32; 100])?;
        for _ in 0..100 {
            // The old `x` is dropped here, and reused by the next link but one.
            x = scale(&context, &x, 1.0, 1.0)?;
        }
        downloads.push((chain, context.download_later(&x)?));
    }
    for (chain, download) in downloads {
        assert_eq!(download.wait()?, [chain as f32 + 100.0; 100]);
    }
    let memory = context.memory();
    assert_eq!(memory.in_use, 0);
    assert!(memory.pooled <= 4 * 512, "buffers are reused: {memory:?}");
    Ok(())
}

/// The queue writes before the next submission: an upload into memory that a recorded dispatch
/// still reads must not reach that dispatch.
fn uploads_and_recordings(context: &Context) -> Outcome {
    let context = own(context, &Options::default())?;
    let mut results = Vec::new();
    for i in 0..50 {
        let input = context.upload(&[i as f32; 100])?;
        results.push(scale(&context, &input, 1.0, 0.5)?);
        // `input` is dropped, recorded and unsubmitted; the next upload takes its memory.
    }
    assert_eq!(
        context.memory().pooled,
        448,
        "every upload took the same memory"
    );
    for (i, result) in results.iter().enumerate() {
        assert_eq!(context.download(result)?, [i as f32 + 0.5; 100]);
    }
    Ok(())
}

fn downloads_and_later_writes(context: &Context) -> Outcome {
    let buffer = context.upload(&[1.0; 64])?;
    let increment = |buffer| {
        context.dispatch(Dispatch {
            kernel: &INCREMENT,
            overrides: &[],
            params: &[],
            buffers: &[buffer],
            groups: [1, 1, 1],
        })
    };
    increment(&buffer)?;
    let second = context.download_later(&buffer)?;
    increment(&buffer)?;
    let third = context.download_later(&buffer)?;
    increment(&buffer)?;
    let unread = context.download_later(&buffer)?;
    drop(unread);
    drop(buffer);
    let other = fill_with(context, 64, 9.0)?;
    assert_eq!(
        third.wait()?,
        [3.0; 64],
        "downloads may be awaited in any order"
    );
    assert_eq!(second.wait()?, [2.0; 64]);
    assert_eq!(context.download(&other)?, [9.0; 64]);
    Ok(())
}

/// 70,001 workgroups of one invocation.
fn folded(context: &Context) -> Outcome {
    let len = 70_001;
    let input = context.upload(&(0..len).map(|i| i as f32).collect::<Vec<_>>())?;
    let out = context.alloc(len)?;
    let dispatch = |groups| {
        context.dispatch(Dispatch {
            kernel: &SCALE,
            overrides: &[("WORKGROUP", 1.0)],
            params: &params(len, 1.0),
            buffers: &[&input, &out],
            groups,
        })
    };
    let refused = dispatch([len as u32, 1, 1]).unwrap_err().to_string();
    assert!(
        refused.contains("70001 workgroups") && refused.contains("gpu::fold"),
        "{refused}"
    );
    dispatch(fold(len as u64))?;
    let expected: Vec<f32> = (0..len).map(|i| i as f32 + 1.0).collect();
    assert_eq!(context.download(&out)?, expected);
    dispatch([0, 1, 1])?;
    Ok(())
}

fn overrides(context: &Context) -> Outcome {
    let input = context.upload(&[3.0; 10])?;
    let results: Vec<Buffer> = [0.0, -1.5, 0.25, -1.5]
        .into_iter()
        .map(|weight| scale(context, &input, weight, 0.0))
        .collect::<gpu::Result<_>>()?;
    for (result, expected) in results.iter().zip([0.0, -4.5, 0.75, -4.5]) {
        assert_eq!(context.download(result)?, [expected; 10]);
    }
    // In another order, and by default.
    for overrides in [&[("WORKGROUP", 32.0), ("WEIGHT", 2.0)][..], &[]] {
        let out = context.alloc(10)?;
        context.dispatch(Dispatch {
            kernel: &SCALE,
            overrides,
            params: &params(10, 0.0),
            buffers: &[&input, &out],
            groups: [1, 1, 1],
        })?;
        let weight = if overrides.is_empty() { 1.0 } else { 2.0 };
        assert_eq!(context.download(&out)?, [3.0 * weight; 10]);
    }
    Ok(())
}

fn profile(context: &Context) -> Outcome {
    let context = own(context, &Options::default())?;
    assert_eq!(context.take_profile()?, []);
    context.profile(true)?;
    if !context.limits().timestamps {
        scale(&context, &context.upload(&[1.0])?, 1.0, 1.0)?;
        assert_eq!(context.take_profile()?, [], "no timestamps, no times");
        return Ok(());
    }
    let input = context.upload(&vec![1.0; 1 << 20])?;
    for _ in 0..70 {
        scale(&context, &input, 1.0, 1.0)?;
    }
    let filled = fill_with(&context, 100, 1.0)?;
    let times = context.take_profile()?;
    let calls: Vec<_> = times.iter().map(|time| (time.name, time.calls)).collect();
    assert_eq!(calls, [("test/scale", 70), ("pointwise/fill", 1)]);
    let total = times[0].total;
    assert!(
        total > Duration::from_micros(70) && total < Duration::from_secs(60),
        "{total:?}"
    );
    assert_eq!(context.download(&filled)?, [1.0; 100]);
    assert_eq!(context.take_profile()?, [], "taken");
    context.profile(false)?;
    scale(&context, &input, 1.0, 1.0)?;
    assert_eq!(context.take_profile()?, []);
    Ok(())
}

fn refusals(context: &Context) -> Outcome {
    let input = context.upload(&[1.0; 8])?;
    let out = context.alloc(8)?;
    let good = Dispatch {
        kernel: &SCALE,
        overrides: &[],
        params: &params(8, 0.0),
        buffers: &[&input, &out],
        groups: [1, 1, 1],
    };
    let cases = [
        (
            Dispatch {
                params: &[0; 4],
                ..good
            },
            "4 bytes of parameters; its Params has 8",
        ),
        (
            Dispatch {
                buffers: &[&input],
                ..good
            },
            "1 buffers; it binds 2",
        ),
        (
            Dispatch {
                buffers: &[&out, &out],
                ..good
            },
            "buffer 1 is written and bound twice",
        ),
        (
            Dispatch {
                overrides: &[("TILE", 1.0)],
                ..good
            },
            "there are [WEIGHT, WORKGROUP]",
        ),
        (
            Dispatch {
                overrides: &[("WEIGHT", f64::NAN)],
                ..good
            },
            "expected a finite number",
        ),
        (
            Dispatch {
                overrides: &[("WORKGROUP", 65536.0)],
                ..good
            },
            "does not compile",
        ),
    ];
    if !context.limits().subgroups {
        let needs = Kernel {
            subgroups: true,
            ..SCALE
        };
        let error = context.dispatch(Dispatch {
            kernel: Box::leak(Box::new(needs)),
            ..good
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("which the device lacks"), "{error}");
    }
    for (dispatch, expected) in cases {
        let error = context.dispatch(dispatch).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Dispatch {
                    kernel: "test/scale",
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(error.to_string().contains(expected), "{error}");
    }
    let other = own(context, &Options::default())?;
    let foreign = other.alloc(8)?;
    let error = context
        .dispatch(Dispatch {
            buffers: &[&input, &foreign],
            ..good
        })
        .unwrap_err();
    assert!(
        error.to_string().contains("buffer 1 is on another device"),
        "{error}"
    );
    context.download(&foreign).unwrap_err();
    // None of this has harmed the device.
    context.dispatch(good)?;
    assert_eq!(context.download(&out)?, [1.0; 8]);
    Ok(())
}

fn half_precision(context: &Context) -> Outcome {
    if !context.limits().f16 {
        let refused = context.alloc_in(Precision::Half, 1).unwrap_err();
        assert!(matches!(refused, Error::NoHalf { .. }), "{refused}");
        return Ok(());
    }
    // An odd number of elements, more than a vector of them.
    let values = [1.0, -0.1, 1e-7, 70_000.0, 2049.0];
    let input = context.upload(&values)?;
    let run = |input: &Buffer, out: &Buffer, weight: f64| {
        context.dispatch(Dispatch {
            kernel: &SCALE,
            overrides: &[("WEIGHT", weight)],
            params: &params(input.len(), 0.0),
            buffers: &[input, out],
            groups: [1, 1, 1],
        })
    };
    let half = context.alloc_in(Precision::Half, values.len())?;
    run(&input, &half, 1.0)?;
    // Subnormals may be flushed to zero.
    let rounded = context.download(&half)?;
    assert_eq!(rounded[..2], [1.0, -0.099_975_586]);
    assert!((0.0..2e-7).contains(&rounded[2]), "{rounded:?}");
    assert!(rounded[3] >= 65_504.0, "over the largest: {rounded:?}");
    assert!([2048.0, 2050.0].contains(&rounded[4]), "{rounded:?}");
    let single = context.alloc(values.len())?;
    run(&half, &single, 2.0)?;
    assert_eq!(context.download(&single)?[..2], [2.0, -0.199_951_17]);
    let again = context.alloc_in(Precision::Half, values.len())?;
    run(&half, &again, 1.0)?;
    assert_eq!(context.download(&again)?[..2], rounded[..2]);
    let dispatch = Dispatch {
        kernel: &INCREMENT,
        overrides: &[],
        params: &[],
        buffers: &[&half],
        groups: [1, 1, 1],
    };
    let refused = context.dispatch(dispatch).unwrap_err().to_string();
    assert!(
        refused.contains("buffer 0 is in half precision"),
        "{refused}"
    );
    Ok(())
}

fn broken_kernel(context: &Context) -> Outcome {
    const BROKEN: Kernel = Kernel {
        name: "test/broken",
        source: "fn main( {",
        ..INCREMENT
    };
    let buffer = context.alloc(1)?;
    let dispatch = Dispatch {
        kernel: &BROKEN,
        overrides: &[],
        params: &[],
        buffers: &[&buffer],
        groups: [1, 1, 1],
    };
    for _ in 0..2 {
        let error = context.dispatch(dispatch).unwrap_err().to_string();
        assert!(
            error.contains("test/broken") && error.contains("does not compile"),
            "{error}"
        );
    }
    Ok(())
}

fn oversized(context: &Context) -> Outcome {
    let most = context.max_buffer_len();
    for len in [most + 1, usize::MAX] {
        let error = context.alloc(len).unwrap_err();
        assert!(matches!(error, Error::BufferTooLarge { .. }), "{error}");
        assert!(error.to_string().contains("--batch"), "{error}");
    }
    Ok(())
}

fn dry(context: &Context) -> Outcome {
    let counted = |context: &Context| -> gpu::Result<_> {
        let large = context.alloc(1 << 20)?;
        let small = context.upload(&[1.0; 1000])?;
        drop(large);
        let third = context.alloc(900_000)?;
        let read = context.download(&small)?;
        let before = context.memory();
        drop((small, third));
        context.trim()?;
        Ok((before, context.memory(), read))
    };
    let real = own(context, &Options::default())?;
    let dry = real.dry();
    assert!(dry.is_dry() && !real.is_dry() && dry != real);
    let (before, after, read) = counted(&dry)?;
    assert_eq!(read, [0.0; 1000]);
    assert_eq!(counted(&real)?.0, before, "class by class");
    assert_eq!((after.in_use, after.pooled), (0, 0));
    assert_eq!(before.taken, before.in_use + before.pooled);
    // What a device can't do is refused, what it can is not done.
    let huge = context.max_buffer_len() + 1;
    assert!(matches!(dry.alloc(huge), Err(Error::BufferTooLarge { .. })));
    let out = dry.alloc(4)?;
    let fill = |params: &[u8]| {
        dry.dispatch(Dispatch {
            kernel: &shaders::pointwise::FILL,
            overrides: &[],
            params,
            buffers: &[&out],
            groups: [1, 1, 1],
        })
    };
    fill(&[4u32.to_le_bytes(), 1.0f32.to_le_bytes()].concat())?;
    assert!(matches!(fill(&[]), Err(Error::Dispatch { .. })));
    assert_eq!(dry.download(&out)?, [0.0; 4]);
    Ok(())
}

fn memory(context: &Context) -> Outcome {
    let context = own(
        context,
        &Options {
            memory_limit: Some(1 << 20),
            ..Options::default()
        },
    )?;
    let half = context.alloc(1 << 17)?;
    let other = context.alloc(1 << 17)?;
    let error = context.alloc(1 << 17).unwrap_err();
    assert!(
        matches!(
            error,
            Error::OutOfMemory {
                in_use: 1048576,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("--size"), "{error}");
    // What is recorded keeps its memory while the pool lets go of it.
    let input = fill_with_in(&context, &half, 3.0)?;
    drop(other);
    drop(half);
    assert_eq!(
        (context.memory().in_use, context.memory().pooled),
        (0, 1 << 20)
    );
    let quarter = context.alloc(1 << 16)?;
    assert_eq!(
        (context.memory().in_use, context.memory().pooled),
        (1 << 18, 0),
        "trimmed"
    );
    assert_eq!(input.wait()?[..4], [3.0; 4]);
    drop(quarter);
    context.trim()?;
    let memory = context.memory();
    assert_eq!((memory.in_use, memory.pooled, memory.peak), (0, 0, 1 << 20));
    Ok(())
}

/// Fills a given buffer and starts its download.
fn fill_with_in(context: &Context, buffer: &Buffer, value: f32) -> gpu::Result<gpu::Pending> {
    context.dispatch(Dispatch {
        kernel: &shaders::pointwise::FILL,
        overrides: &[],
        params: &params(buffer.len(), value),
        buffers: &[buffer],
        groups: fold(buffer.len().div_ceil(256) as u64),
    })?;
    context.download_later(buffer)
}

fn destroyed(context: &Context) -> Outcome {
    let context = own(context, &Options::default())?;
    let buffer = context.upload(&[1.0; 100])?;
    let recorded = scale(&context, &buffer, 1.0, 1.0)?;
    let pending = context.download_later(&recorded)?;
    scale(&context, &buffer, 1.0, 1.0)?;
    destroy(&context);
    // What was under way may have arrived before; nothing new does.
    let _ = pending.wait();
    let _ = context.synchronize();
    let errors = [
        context.alloc(10).map(drop),
        context.upload(&[1.0]).map(drop),
        context.download(&buffer).map(drop),
        scale(&context, &buffer, 1.0, 1.0).map(drop),
        context.flush(),
        context.synchronize(),
        context.trim(),
        context.profile(true),
    ];
    for (call, outcome) in errors.into_iter().enumerate() {
        let error = outcome.expect_err("the device is lost");
        assert!(
            matches!(error, Error::DeviceLost { .. }),
            "call {call}: {error}"
        );
    }
    Ok(())
}

fn threads(context: &Context) -> Outcome {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || -> gpu::Result<()> {
                    for i in 0..20 {
                        let start = (thread * 100 + i) as f32;
                        let mut x = context.upload(&[start; 500])?;
                        for _ in 0..10 {
                            x = scale(context, &x, 1.0, 1.0)?;
                        }
                        assert_eq!(context.download(&x)?, [start + 10.0; 500]);
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic")?;
        }
        Ok(())
    })
}

fn unchecked(context: &Context) -> Outcome {
    let context = own(
        context,
        &Options {
            checks: Checks::Off,
            ..Options::default()
        },
    )?;
    let input = context.upload(&[2.0; 1000])?;
    let out = scale(&context, &input, 3.0, 1.0)?;
    assert_eq!(context.download(&out)?, [7.0; 1000]);
    Ok(())
}

fn open_by_name(context: &Context) -> Outcome {
    let info = context.info();
    assert_eq!(own(context, &Options::default())?.info(), info);
    let name = format!(
        "{}:{}",
        info.backend.to_string().to_uppercase(),
        info.name.to_uppercase()
    );
    assert_eq!(Context::open(&Choice::Named(name))?.info(), info);
    assert!(adapters().contains(info));
    assert_eq!(adapters(), adapters(), "the order is stable");
    Ok(())
}

fn wrong_names() -> Outcome {
    let error = Context::open(&Choice::Named("no such gpu".into())).unwrap_err();
    match adapters().first() {
        Some(best) => assert!(error.to_string().contains(&best.to_string()), "{error}"),
        None => assert!(matches!(error, Error::NoAdapter), "{error}"),
    }
    if adapters().iter().all(|info| info.is_software) {
        Context::open(&Choice::Hardware).unwrap_err();
    }
    Ok(())
}

fn open_in_threads() -> Outcome {
    let contexts = adapters_for_tests().unwrap_or_default();
    std::thread::scope(|scope| {
        for context in contexts.iter().cycle().take(2 * contexts.len().min(4)) {
            scope.spawn(move || fill(&own(context, &Options::default()).expect("opens")));
        }
    });
    Ok(())
}
