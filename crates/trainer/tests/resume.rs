//! Runs that end before their time, in whatever way, and go on as if nothing had happened.

mod scratch;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use scratch::{SMALL, Scratch, files, stderr, stdout, tensors};
use serde_json::Value;

/// Flags of a run of forty quick steps.
const FORTY: &str = "--data data --size 16 --load-size 18 --ngf 4 --ndf 4 --discriminator pixel \
                     --pool-size 3 --ema 0.9 --steps 40 --sample-every 10 --checkpoint-every 5 --quiet";

fn begin(scratch: &Scratch, args: &str, environment: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command
        .current_dir(scratch.0.path())
        .args(args.split_whitespace())
        .env_remove("HENSHIN_DEVICE")
        .envs(environment.iter().copied())
        .stderr(Stdio::piped())
        .stdout(Stdio::null());
    command.spawn().unwrap()
}

/// Waits until something is so, and says whether the program still ran then.
fn wait_until(child: &mut Child, what: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(300), "it never came");
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        sleep(Duration::from_millis(1));
    }
    child.try_wait().unwrap().is_none()
}

/// Ends it as a crash would.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Ctrl-C
fn interrupt(child: Child) -> std::process::Output {
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    child.wait_with_output().unwrap()
}

fn lines(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// Everything that a run is compared by: tensors of its last checkpoint, metrics, and sample sheets.
type Results = (Vec<u8>, String, Vec<(String, Vec<u8>)>);

fn results(run: &Path, last: u64) -> Results {
    let checkpoint = fs::read(run.join(format!("checkpoints/{last:06}.safetensors"))).unwrap();
    let samples = run.join("samples");
    let sheets = files(&samples).into_iter();
    let sheets = sheets.map(|name| (name.clone(), fs::read(samples.join(name)).unwrap()));
    (
        tensors(&checkpoint).to_vec(),
        fs::read_to_string(run.join("metrics.jsonl")).unwrap(),
        sheets.collect(),
    )
}

fn assert_same(scratch: &Scratch, run: &str, as_run: &str, last: u64) {
    let (found, expected) = (
        results(&scratch.path(run), last),
        results(&scratch.path(as_run), last),
    );
    assert!(
        found.0 == expected.0,
        "{run}: weights, moments or pools differ"
    );
    assert_eq!(found.1, expected.1, "{run}: metrics");
    assert!(found.2 == expected.2, "{run}: samples");
    let metrics = found.1.lines().count();
    assert_eq!(metrics as u64, last, "{run}: a line a step");
}

#[test]
fn cut_goes_on_exactly() {
    let scratch = Scratch::new();
    let run = format!(
        "{} --device cpu --method fastcut --nce-patches 20 --nce-features 8 --lambda-feature-matching 1 \
         --diffaugment color",
        FORTY.replace("--steps 40", "--steps 20")
    );
    scratch.succeeds(&format!("{run} --out whole"));
    let mut child = begin(&scratch, &format!("{run} --out broken"), &[]);
    let path = scratch.path("broken");
    assert!(wait_until(&mut child, || lines(&path) >= 7));
    kill(child);
    scratch.succeeds("--resume broken --quiet");
    assert_same(&scratch, "broken", "whole", 20);
    let said = scratch.fails("--resume broken --steps 30 --method cut", &["method"]);
    assert!(said.contains("Begin a new run"), "{said}");
    // A generator there, and none back.
    scratch.succeeds("translate broken --input data/testA/0.png --output out --device cpu --quiet");
    let back =
        "translate broken --input data/testB/0.png --output out --direction BtoA --device cpu";
    scratch.fails(back, &["--direction BtoA", "--method cyclegan"]);
    scratch.fails(
        "export broken --output g.onnx --direction BtoA",
        &["--method cyclegan"],
    );
    scratch.succeeds("export broken --output g.onnx");
    scratch.succeeds("evaluate broken --device cpu --quiet");
    scratch.succeeds(&format!("plan {}", run.replace(" --quiet", "")));
}

/// The adapter that tests run on: a real one, or that of GL, on which steps take a tenth of the time that they
/// do on Vulkan's software adapter. None, and a loud word, where there is none.
fn adapter() -> Option<String> {
    one_of(|contexts| {
        let real = contexts.iter().find(|context| !context.info().is_software);
        real.or(contexts.last())
    })
}

fn one_of(choose: impl FnOnce(&[gpu::Context]) -> Option<&gpu::Context>) -> Option<String> {
    match gpu::testing::adapters_for_tests() {
        Ok(contexts) => {
            let info = choose(&contexts)?.info();
            let name = info.name.split(' ').next().unwrap_or_default();
            Some(format!("{}:{name}", info.backend))
        }
        Err(error) if std::env::var("HENSHIN_REQUIRE_GPU").is_ok_and(|value| value == "1") => {
            panic!("{error}")
        }
        Err(error) => {
            eprintln!("*** NOT TESTED ON A GPU: {error} ***");
            None
        }
    }
}

/// A run of so many steps against one that is killed after half of them, and one that is stopped after a third;
/// with a checkpoint at every eighth.
fn breaks_leave_no_trace(device: &str, steps: u64) {
    let scratch = Scratch::new();
    let run = |args: &str| {
        let output = begin(&scratch, args, &[]).wait_with_output().unwrap();
        assert!(output.status.success(), "{args}: {}", stderr(&output));
    };
    let every = format!("--checkpoint-every {}", steps / 8);
    let once = FORTY
        .replace("--steps 40", &format!("--steps {steps}"))
        .replace("--checkpoint-every 5", &every);
    let once = format!("{once} --device {device} --no-autotune --out whole");
    run(&once);

    let mut child = begin(&scratch, &once.replace("whole", "killed"), &[]);
    let half = scratch.path(&format!("killed/checkpoints/{:06}.safetensors", steps / 2));
    assert!(wait_until(&mut child, || half.exists()), "too late to kill");
    kill(child);
    run("--resume killed --quiet");
    assert_same(&scratch, "killed", "whole", steps);

    let mut child = begin(&scratch, &once.replace("whole", "stopped"), &[]);
    let path = scratch.path("stopped");
    let third = steps as usize / 3;
    assert!(
        wait_until(&mut child, || lines(&path) >= third),
        "too late to stop"
    );
    let output = interrupt(child);
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("the run is saved") && said.contains("--resume stopped"),
        "{said}"
    );
    let taken = lines(&path);
    assert!((third..steps as usize).contains(&taken), "{taken}");
    run("--resume stopped --quiet");
    assert_same(&scratch, "stopped", "whole", steps);
    println!(
        "{device}: {steps} steps, killed at {} or later, stopped at {taken}",
        steps / 2
    );
}

#[test]
fn killed_or_stopped_on_the_processor() {
    breaks_leave_no_trace("cpu", 40);
}

#[test]
fn evaluations_leave_the_run_as_it_is_and_the_best_checkpoint_stays() {
    let scratch = Scratch::new();
    let run = |args: &str| {
        let output = begin(&scratch, args, &[]).wait_with_output().unwrap();
        assert!(output.status.success(), "{args}: {}", stderr(&output));
    };
    let plain = format!("{FORTY} --device cpu --keep-checkpoints 1 --out plain");
    run(&plain);
    let features = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/metrics/shift-tolerant.pth");
    let evaluated = format!(
        "{plain} --eval-every 4 --eval-pictures 3 --features {} --identity {}",
        features.display(),
        features
            .with_file_name("../../../crates/faces/tests/fixtures/recognition.bin")
            .display(),
    );
    let evaluated = |out: &str| evaluated.replace("plain", out);
    run(&evaluated("whole"));
    let [whole, without] = ["whole", "plain"].map(|run| results(&scratch.path(run), 40));
    assert!(whole.0 == without.0, "weights, moments or pools differ");
    assert!(whole.2 == without.2, "samples differ");

    let mut child = begin(&scratch, &evaluated("killed"), &[]);
    let path = scratch.path("killed");
    assert!(
        wait_until(&mut child, || lines(&path) >= 21),
        "too late to kill"
    );
    kill(child);
    run("--resume killed --quiet");
    assert_same(&scratch, "killed", "whole", 40);
    let mut child = begin(&scratch, &evaluated("stopped"), &[]);
    let path = scratch.path("stopped");
    assert!(
        wait_until(&mut child, || lines(&path) >= 11),
        "too late to stop"
    );
    interrupt(child);
    run("--resume stopped --quiet");
    assert_same(&scratch, "stopped", "whole", 40);

    let name = "kid_A by stlpips-vgg16 at 128";
    let metrics: Vec<Value> = whole.1.lines().map(|line| line.parse().unwrap()).collect();
    let of = |name: &str| -> Vec<(u64, f64)> {
        let each = metrics
            .iter()
            .filter_map(|line| Some((line["step"].as_u64()?, line[name].as_f64()?)));
        each.collect()
    };
    let kid = of(name);
    let steps: Vec<u64> = kid.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, (1..=10).map(|i| 4 * i).collect::<Vec<_>>());
    for other in [
        "kid_error_A by stlpips-vgg16 at 128",
        "fid_A by stlpips-vgg16 at 128",
        "lpips_cycle_A by stlpips-vgg16 at 128",
        "lpips_diversity_A by stlpips-vgg16 at 128",
        "identity_A by face-api-recognition",
        "identity_cycle_A by face-api-recognition",
        "l1_cycle_A",
    ] {
        assert_eq!(of(other).len(), 10, "{other}");
    }
    let (best, _) = kid.iter().min_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
    for run in ["whole", "killed", "stopped"] {
        let folder = scratch.path(run).join("checkpoints");
        let named = fs::read_to_string(folder.join("best")).unwrap();
        assert_eq!(named, format!("{best:06}.safetensors\n"), "{run}");
        assert!(folder.join(named.trim()).exists(), "{run}");
    }
    let translate = |rest: &str| {
        scratch.succeeds(&format!(
            "translate {rest} --input data/testA/0.png --output out --device cpu --quiet"
        ));
        fs::read(scratch.path("out/0.png")).unwrap()
    };
    let by_name = translate("whole --step best");
    assert_eq!(by_name, translate("whole/checkpoints/best"));
    assert_eq!(by_name, translate(&format!("whole --step {best}")));
    scratch.fails(
        "translate plain --step best --input data/testA/0.png --output out --device cpu",
        &["no best checkpoint", "--eval-every"],
    );

    // Lost, it is told by the metrics.
    fs::remove_file(scratch.path("killed/checkpoints/best")).unwrap();
    run("--resume killed --steps 41 --quiet");
    let named = fs::read_to_string(scratch.path("killed/checkpoints/best")).unwrap();
    assert_eq!(named, format!("{best:06}.safetensors\n"));
    scratch.fails(
        "--resume killed --steps 42 --features nowhere.pth --quiet",
        &["nowhere.pth could not be read"],
    );
    scratch.fails("--data data --eval-every 4 --out other", &["features"]);
}

#[test]
fn killed_or_stopped_on_a_gpu() {
    if let Some(adapter) = adapter() {
        breaks_leave_no_trace(&adapter, 40);
    }
}

#[test]
fn kernels_that_were_chosen_by_measurement_are_those_of_the_checkpoint() {
    // The best there is: GL's has nothing to choose from.
    let Some(adapter) = one_of(|contexts| contexts.first()) else {
        return;
    };
    let scratch = Scratch::new();
    // Our folder for caches can't be made, and the checkpoint alone remembers; Mesa's stays where it was, for
    // without it lavapipe compiles at every dispatch.
    let home = std::env::var("HOME").unwrap_or_default();
    let mesa = format!("{home}/.cache");
    let nowhere = [
        ("XDG_CACHE_HOME", "/dev/null"),
        ("MESA_SHADER_CACHE_DIR", &mesa),
    ];
    let run = |args: &str| {
        let output = begin(&scratch, args, &nowhere).wait_with_output().unwrap();
        assert!(output.status.success(), "{args}: {}", stderr(&output));
    };
    let small = FORTY
        .replace("--steps 40", "--steps 6")
        .replace("--checkpoint-every 5", "--checkpoint-every 3");
    run(&format!("{small} --device {adapter} --out run"));
    let kernels = |steps: u64| {
        let path = scratch.path(&format!("run/checkpoints/{steps:06}.safetensors"));
        let reader = nn::StateReader::open(&path).unwrap();
        reader.metadata()["kernels"].clone()
    };
    let chosen = kernels(3);
    assert!(
        chosen.lines().count() > 3 || adapter.starts_with("gl"),
        "{chosen}"
    );
    let whole = results(&scratch.path("run"), 6);
    fs::remove_file(scratch.path("run/checkpoints/000006.safetensors")).unwrap();
    run("--resume run --quiet");
    assert_eq!(kernels(6), chosen);
    assert!(results(&scratch.path("run"), 6) == whole);
}

#[test]
fn a_device_that_fails_in_the_middle_of_a_step_is_replaced() {
    let Some(adapter) = adapter() else { return };
    let scratch = Scratch::new();
    let small = FORTY
        .replace("--steps 40", "--steps 6")
        .replace("--checkpoint-every 5", "--checkpoint-every 2");
    let train = |run: &str, fault: &str| {
        let args = format!("{small} --no-autotune --device {adapter} --out {run}");
        let child = begin(&scratch, &args, &[("HENSHIN_INJECT", fault)]);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{fault}: {}", stderr(&output));
        stderr(&output)
    };
    train("whole", "");
    // A step has some thousand dispatches; the first two are taken on noise, to measure.
    for (run, fault, said) in [
        ("lost", "lost@9000", "was lost"),
        ("full", "oom@9000", "out of memory"),
        ("hung", "hung@200", "hangs"),
    ] {
        let message = train(run, fault);
        assert!(message.contains(said), "{fault}: {message}");
        assert!(
            message.contains("going on from the last checkpoint"),
            "{message}"
        );
        assert_same(&scratch, run, "whole", 6);
        let history = fs::read_to_string(scratch.path(run).join("history.jsonl")).unwrap();
        assert!(history.contains("\"recovered\""), "{history}");
    }
}

/// The generator of Numerical Recipes' "quick and dirty" kind: which moments are met is of no consequence.
fn draws(seed: u32) -> impl FnMut(u32) -> u32 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    }
}

/// `HENSHIN_KILLS` says how often; that many take a while.
#[test]
fn killed_at_any_moment_a_run_loses_no_checkpoint() {
    let kills: u32 = std::env::var("HENSHIN_KILLS").map_or(15, |text| text.parse().unwrap());
    let scratch = Scratch::new();
    // Much writing, for its size: most moments are in the middle of a checkpoint.
    let small = "--data data --size 8 --load-size 8 --ngf 2 --ndf 2 --discriminator pixel \
                 --pool-size 50 --sample-every 7 --checkpoint-every 1 --device cpu --quiet";
    let steps = 60 + 12 * u64::from(kills);
    let begin_run = |out: &str| {
        begin(
            &scratch,
            &format!("{small} --steps {steps} --out {out}"),
            &[],
        )
    };
    let output = begin_run("whole").wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));

    let run = scratch.path("run");
    let newest = || -> u64 {
        let names = files(&run.join("checkpoints")).into_iter();
        let steps = names.filter_map(|name| name.strip_suffix(".safetensors")?.parse().ok());
        steps.max().unwrap_or(0)
    };
    let mut child = begin_run("run");
    wait_until(&mut child, || run.join("checkpoints").is_dir());
    let mut draw = draws(7);
    let (mut reached, mut done) = (0, 0);
    while done < kills {
        let moment = Duration::from_micros(u64::from(draw(150_000)));
        let begun = Instant::now();
        let still = wait_until(&mut child, || {
            newest() > reached && begun.elapsed() > moment
        });
        let ended = !still;
        kill(child);
        done += 1;
        let now = newest();
        assert!(now > reached || ended, "after {reached} comes {now}");
        reached = now;
        let latest = fs::read_to_string(run.join("checkpoints/latest")).unwrap();
        let named = nn::load_file(
            &run.join("checkpoints").join(latest.trim()),
            &tensor::Device::Cpu,
        );
        assert!(named.is_ok(), "latest is whole");
        child = begin(&scratch, "--resume run --quiet", &[]);
        if reached == steps {
            break;
        }
    }
    let output = child.wait_with_output().unwrap();
    if reached < steps {
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert!(done == kills, "only {done} kills before the run had ended");
    assert_same(&scratch, "run", "whole", steps);
    let left = files(&run.join("checkpoints"));
    let is_left = |name: &String| name.contains("damaged") || name.contains("partial");
    assert!(!left.iter().any(is_left), "{left:?}");
    println!("{done} kills, {steps} steps");
}

#[test]
fn a_damaged_checkpoint_is_gone_back_from() {
    let scratch = Scratch::new();
    scratch.train("whole");
    scratch.train("run");
    let path = |steps: u64| scratch.path(&format!("run/checkpoints/{steps:06}.safetensors"));
    let mut bytes = fs::read(path(4)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path(4), bytes).unwrap();
    let said = stderr(&scratch.succeeds("--resume run"));
    assert!(
        said.contains("000004.safetensors") && said.contains("checksum"),
        "{said}"
    );
    assert!(said.contains("trying the one before it"), "{said}");
    assert_same(&scratch, "run", "whole", 4);
    assert!(
        files(&scratch.path("run/checkpoints")).contains(&"000004.safetensors.damaged".to_owned())
    );

    // Translating, too, takes the one before; and `latest` can be named.
    fs::write(path(4), "cut short").unwrap();
    let said =
        stderr(&scratch.succeeds("translate run --input data/testA --output out --device cpu"));
    assert!(
        said.contains("000004") && said.contains("trying the one before it"),
        "{said}"
    );
    fs::write(path(2), "cut short").unwrap();
    scratch.fails("--resume run", &["none of the 2 checkpoints", "run"]);
    scratch.succeeds(
        "translate whole/checkpoints/latest --input data/testA --output out2 --device cpu",
    );
}

#[test]
fn options_change_on_resume_where_they_can() {
    let scratch = Scratch::new();
    scratch.train("run");
    for (option, reason) in [
        ("--ngf 8", "other networks"),
        ("--generator resnet_9blocks", "other networks"),
        ("--seed 5", "order of its pictures"),
        ("--init-gain 0.1", "weights were drawn"),
        ("--gan-mode vanilla", "learnt to answer"),
        ("--preset paper", "one by one"),
    ] {
        let name = option
            .trim_start_matches("--")
            .split(' ')
            .next()
            .unwrap()
            .replace('-', "_");
        scratch.fails(&format!("--resume run {option}"), &[&name, reason]);
    }
    let refused = scratch.trainer("--resume run --out other");
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&scratch.succeeds(
        "--resume run --steps 6 --learning-rate 1e-4 --batch 2 --size 36 --load-size 40",
    ));
    for change in [
        "steps = 6 instead of 4",
        "learning_rate = 0.0001 instead of 0.0002",
        "batch = 2 instead of 1",
        "size = 36 instead of 32",
    ] {
        assert!(said.contains(change), "{said}");
    }
    let config = fs::read_to_string(scratch.path("run/config.toml")).unwrap();
    assert!(config.contains("learning_rate = 0.0001"), "{config}");
    // As an edited file says, too.
    fs::write(
        scratch.path("run/config.toml"),
        config.replace("steps = 6", "steps = 7"),
    )
    .unwrap();
    let said = stderr(&scratch.succeeds("--resume run"));
    assert!(said.contains("steps = 7 instead of 6"), "{said}");
    // Lost, it is in the checkpoint.
    fs::write(scratch.path("run/config.toml"), "").unwrap();
    let said = stderr(&scratch.succeeds("--resume run --steps 8"));
    assert!(said.contains("settings of the checkpoint"), "{said}");
    let history = fs::read_to_string(scratch.path("run/history.jsonl")).unwrap();
    assert!(history.contains("\"steps = 6 instead of 4\""), "{history}");

    // Another picture is another run, and is said to be.
    fs::copy(
        scratch.path("data/trainA/0.png"),
        scratch.path("data/trainA/new.png"),
    )
    .unwrap();
    let said = stderr(&scratch.succeeds("--resume run --steps 9"));
    assert!(said.contains("the pictures have changed: 4 of A"), "{said}");
    // Moved while it was stopped.
    fs::rename(scratch.path("run"), scratch.path("moved")).unwrap();
    scratch.succeeds("--resume moved --steps 10");
    assert_eq!(lines(&scratch.path("moved")), 10);
}

#[test]
fn a_run_without_a_checkpoint_begins_again() {
    let scratch = Scratch::new();
    scratch.train("whole");
    scratch.train("run");
    fs::remove_dir_all(scratch.path("run/checkpoints")).unwrap();
    fs::create_dir(scratch.path("run/checkpoints")).unwrap();
    scratch.succeeds("--resume run --quiet");
    assert_same(&scratch, "run", "whole", 4);
}

#[test]
fn one_trainer_works_on_a_run_and_runs_are_listed() {
    let scratch = Scratch::new();
    let long = FORTY.replace("--steps 40", "--steps 100000");
    let mut child = begin(
        &scratch,
        &format!("{long} --device cpu --out runs/long"),
        &[],
    );
    let path = scratch.path("runs/long");
    assert!(wait_until(&mut child, || lines(&path) >= 6));
    scratch.fails(
        "--resume runs/long",
        &["another trainer is at work", "runs/long", "process"],
    );
    let short = SMALL.replace("--steps 4", "--steps 2");
    scratch.succeeds(&format!("--data data --out runs/short {short}"));
    let listed = || stdout(&scratch.succeeds("runs"));
    let now = listed();
    assert!(
        now.contains("at work") && now.contains("of 100000"),
        "{now}"
    );
    assert!(now.contains("finished") && now.contains("2 of 2"), "{now}");
    kill(child);
    assert!(listed().contains("broken off"), "{}", listed());
    let child = begin(&scratch, "--resume runs/long", &[]);
    sleep(Duration::from_millis(700));
    interrupt(child);
    assert!(listed().contains("stopped"), "{}", listed());
    scratch.fails("runs nowhere", &["no runs in nowhere"]);

    // Marked checkpoints outlast newer ones.
    scratch.succeeds("keep runs/short");
    scratch.fails("keep runs/short --step 7", &["no such checkpoint", "2"]);
    scratch.succeeds("--resume runs/short --steps 14 --keep-checkpoints 1 --keep-every 6 --quiet");
    let kept = files(&scratch.path("runs/short/checkpoints"));
    let kept: Vec<&str> = kept
        .iter()
        .filter_map(|name| name.strip_suffix(".safetensors"))
        .collect();
    assert_eq!(kept, ["000002", "000006", "000012", "000014"]);
}

#[test]
fn steps_that_are_no_numbers_are_skipped_and_named() {
    let scratch = Scratch::new();
    // The first step throws all weights far away; what comes after is infinite.
    let wild = SMALL.replace("--steps 4", "--steps 60 --learning-rate 1e30");
    let train = |run: &str, policy: &str| {
        scratch.fails(
            &format!("--data data --out {run} {wild} --on-nan {policy}"),
            &[
                "no finite number",
                "trainA",
                ".png",
                "--learning-rate",
                "--resume",
            ],
        )
    };
    let said = train("skip", "skip");
    assert_eq!(said.matches("the step is skipped").count(), 20, "{said}");
    assert!(!train("stop", "stop").contains("skipped"));
    let said = train("rollback", "rollback");
    assert!(said.contains("the last checkpoint"), "{said}");
}

#[test]
fn flat_pictures_do_no_harm() {
    let scratch = Scratch::new();
    for domain in ["trainA", "trainB", "testA", "testB"] {
        for entry in fs::read_dir(scratch.path("data").join(domain)).unwrap() {
            let grey = images::RgbImage::from_pixel(40, 40, images::Rgb([128; 3]));
            grey.save(entry.unwrap().path()).unwrap();
        }
    }
    scratch.train("run");
    let metrics = fs::read_to_string(scratch.path("run/metrics.jsonl")).unwrap();
    assert!(!metrics.contains("null"), "{metrics}");
}
