//! The program as its user meets it: runs that work, and what bad input gets: one paragraph that
//! names the thing and what to do, exit status 1 (2 for usage), no panic, nothing half-written.

mod scratch;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use scratch::{SMALL, Scratch, files, picture, stderr, stdout, tensors};

#[test]
fn a_run_leaves_what_the_readme_says() {
    let scratch = Scratch::new();
    scratch.train("run");
    let run = scratch.path("run");
    assert_eq!(
        files(&run),
        [
            "checkpoints",
            "config.toml",
            "history.jsonl",
            "lock",
            "metrics.jsonl",
            "pace.jsonl",
            "report.html",
            "samples"
        ]
    );
    assert_eq!(
        files(&run.join("samples")),
        ["000000.png", "000002.png", "000004.png"]
    );
    assert_eq!(
        files(&run.join("checkpoints")),
        ["000002.safetensors", "000004.safetensors", "latest"]
    );
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4);
    for (i, line) in lines.iter().enumerate() {
        assert_eq!(line["step"], i + 1);
        for name in [
            "G_A", "G_B", "cycle_A", "cycle_B", "idt_A", "idt_B", "D_A", "D_B",
        ] {
            assert!(line[name].as_f64().unwrap().is_finite(), "{name} in {line}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_a_resumed_one_too() {
    let scratch = Scratch::new();
    scratch.train("one");
    scratch.train("two");
    let metrics = |run: &str| fs::read_to_string(scratch.path(run).join("metrics.jsonl")).unwrap();
    assert_eq!(metrics("one"), metrics("two"));

    // Two steps of four, the rest after a resume.
    fs::copy(
        scratch.path("one/checkpoints/000002.safetensors"),
        scratch.path("two/checkpoints/000002.safetensors"),
    )
    .unwrap();
    fs::remove_file(scratch.path("two/checkpoints/000004.safetensors")).unwrap();
    scratch.succeeds("--resume two --quiet");
    assert_eq!(metrics("one"), metrics("two"));
    let checkpoint = |run: &str| fs::read(scratch.path(run).join("samples/000004.png")).unwrap();
    assert_eq!(checkpoint("one"), checkpoint("two"));
    scratch.fails("--resume two --quiet", &["two", "--steps"]);
}

#[test]
fn stages_train_the_same_networks_on_larger_and_larger_pictures() {
    let scratch = Scratch::new();
    // A checkpoint at every step, to resume anywhere; pools that are full soon.
    let staged = SMALL
        .replace("--steps 4", "--stages 32:3:2,48:4")
        .replace(
            "--checkpoint-every 2",
            "--checkpoint-every 1 --keep-checkpoints 9",
        )
        .replace(
            "--size 32 --load-size 36",
            "--size 64 --load-size 72 --pool-size 2",
        )
        .replace("--quiet", "");
    let output = scratch.succeeds(&format!("--data data --out one {staged}"));
    let said = stderr(&output);
    for line in [
        "trained at 32×32, 48×48",
        "stage 1 of 2: 32×32, batch 2, steps 1 to 3",
        "stage 2 of 2: 48×48, batch 1, steps 4 to 7",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let metrics = |run: &str| fs::read_to_string(scratch.path(run).join("metrics.jsonl")).unwrap();
    assert_eq!(metrics("one").lines().count(), 7);
    // Six rows of pictures, shown at 128 pixels or more.
    let sheet = |step: u32| {
        let path = scratch.path("one").join(format!("samples/{step:06}.png"));
        images::decode(&path).unwrap().width()
    };
    assert_eq!(sheet(2), 6 * 32 * 4 + 7 * 4);
    assert_eq!(sheet(6), 6 * 48 * 3 + 7 * 4);

    // Resumed in the first stage, between the two and in the second.
    let last =
        |run: &str| fs::read(scratch.path(run).join("checkpoints/000007.safetensors")).unwrap();
    for step in [2, 3, 5] {
        let run = format!("from-{step}");
        fs::create_dir_all(scratch.path(&run).join("checkpoints")).unwrap();
        fs::create_dir_all(scratch.path(&run).join("samples")).unwrap();
        for file in [
            "config.toml",
            "metrics.jsonl",
            &format!("checkpoints/{step:06}.safetensors"),
        ] {
            fs::copy(
                scratch.path("one").join(file),
                scratch.path(&run).join(file),
            )
            .unwrap();
        }
        scratch.succeeds(&format!("--resume {run} --quiet"));
        assert_eq!(metrics(&run), metrics("one"), "from step {step}");
        assert_eq!(
            tensors(&last(&run)),
            tensors(&last("one")),
            "from step {step}"
        );
    }
    scratch.fails("--resume one --quiet", &["one", "--stages"]);
    scratch.succeeds("translate one --input data/testA --output out --device cpu");

    let with = |stages: &str, more: &str| {
        let flags = SMALL.replace("--steps 4", &format!("--stages {stages}"));
        format!("--data data --out two {flags} {more}")
    };
    scratch.fails(&with("32:3,50:3", ""), &["50:3", "try 48 or 52"]);
    scratch.fails(&with("32:3,48", ""), &["stages", "SIZE:STEPS"]);
    scratch.fails(&with("32:3", "--steps 5"), &["steps = 5", "32:3"]);
    scratch.fails(&with("32:3", "--epochs 5"), &["epochs = 5", "32:3"]);
    assert!(!scratch.path("two").exists(), "nothing half-written");
}

#[test]
fn pictures_are_turned_scaled_and_recoloured_as_the_seed_says() {
    let scratch = Scratch::new();
    let train = |run: &str, more: &str| {
        scratch.succeeds(&format!("--data data --out {run} {SMALL} {more}"));
        fs::read_to_string(scratch.path(run).join("metrics.jsonl")).unwrap()
    };
    let plain = train("plain", "");
    assert_eq!(plain, train("off", "--rotate 0 --zoom 0 --jitter 0"));
    let mut all = vec![plain];
    for (i, options) in ["--rotate 15", "--zoom 0.2", "--jitter 0.3"]
        .iter()
        .enumerate()
    {
        let one = train(&format!("{i}"), options);
        assert_eq!(one, train(&format!("{i}-again"), options), "{options}");
        assert!(!all.contains(&one), "{options} changes something");
        all.push(one);
    }
    for (option, given) in [("rotate", "181"), ("zoom", "1"), ("jitter", "1.5")] {
        let refused = format!("--data data --out no {SMALL} --{option} {given}");
        scratch.fails(&refused, &[&format!("{option} = {given}"), "from 0 to"]);
    }
}

#[test]
fn a_style_of_the_drawings_is_trained_on_alone() {
    let scratch = Scratch::new();
    let flags = SMALL.replace("--quiet", "");
    let styled = |data: &str, style: &str| {
        format!("--data {data} --out {data}-{style} {flags} --style {style}")
    };
    scratch.fails(
        &styled("data", "0"),
        &["trainB", "isn't divided", "--styles auto"],
    );

    let mut pictures = 0;
    for (domain, style, count) in [
        ("trainA", "", 2),
        ("trainB", "style-0", 3),
        ("trainB", "style-1", 1),
        ("trainB", "style-10", 1),
        ("testB", "style-1", 1),
    ] {
        let folder = scratch.path("divided").join(domain).join(style);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..count {
            pictures += 1;
            let name = format!("{i}.png");
            picture(40, 40, pictures).save(folder.join(name)).unwrap();
        }
    }
    scratch.fails(&styled("divided", "7"), &["style 7", "0, 1, 10"]);
    scratch.fails(&styled("divided", "../trainA"), &["no style"]);
    for (style, b) in [("0", 3), ("1", 1)] {
        let said = stderr(&scratch.succeeds(&styled("divided", style)));
        assert!(said.contains(&format!("2 of A, {b} of B")), "{said}");
    }
    let all = scratch.succeeds(&format!("--data divided --out all {flags}"));
    assert!(stderr(&all).contains("2 of A, 5 of B"));

    // Without a test picture of its style, a sheet shows those trained on, and no other style's.
    let real_b = |run: &str| {
        let sheet = images::decode(&scratch.path(run).join("samples/000000.png")).unwrap();
        // The fourth column of pictures, 128 pixels wide with gaps of four, its first row.
        let [width, gap] = [128, 4];
        images::crop(
            &sheet,
            gap + 3 * (width + gap),
            sheet.height() - gap - width,
            1,
            width,
        )
    };
    assert_ne!(real_b("divided-0"), real_b("divided-1"));
    assert_eq!(real_b("all"), real_b("divided-1"), "the only test picture");
}

#[test]
fn diffaugment_changes_a_run_and_repeats_with_the_seed() {
    let scratch = Scratch::new();
    let train = |run: &str, more: &str| {
        scratch.succeeds(&format!("--data data --out {run} {SMALL} {more}"));
        fs::read_to_string(scratch.path(run).join("metrics.jsonl")).unwrap()
    };
    let all = "--diffaugment color,translation,cutout";
    let with = train("with", all);
    assert_eq!(with, train("again", all));
    let without = train("without", "");
    assert_ne!(with, without);
    // What is no adversarial term is the same in the first step.
    let cycle = |metrics: &str| {
        let line: serde_json::Value =
            serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
        (
            line["cycle_A"].clone(),
            line["idt_A"].clone(),
            line["G_A"].clone(),
        )
    };
    let (with, without) = (cycle(&with), cycle(&without));
    assert_eq!((&with.0, &with.1), (&without.0, &without.1));
    assert_ne!(with.2, without.2);
    scratch.fails(
        &format!("--data data --out blurred {SMALL} --diffaugment color,blur"),
        &["diffaugment", "blur", "cutout"],
    );
}

#[test]
fn translations_have_the_size_of_their_input() {
    let scratch = Scratch::new();
    scratch.train("run");
    let input = scratch.path("in put");
    fs::create_dir(&input).unwrap();
    let sizes = [(1, 1), (37, 61), (64, 64), (3, 200), (2000, 10)];
    for (w, h) in sizes {
        picture(w, h, 1)
            .save(input.join(format!("é {w}x{h}.png")))
            .unwrap();
    }
    let run = |direction: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
            .current_dir(scratch.0.path())
            .args(["translate", "run", "--input", "in put", "--output", "out"])
            .args(["--direction", direction, "--device", "cpu"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        sizes.map(|(w, h)| {
            let out = images::decode(&scratch.path("out").join(format!("é {w}x{h}.png"))).unwrap();
            assert_eq!(out.dimensions(), (w, h));
            out
        })
    };
    assert_ne!(run("AtoB"), run("BtoA"), "the directions differ");
}

#[test]
fn pictures_go_through_a_pipe() {
    let scratch = Scratch::new();
    scratch.train("run");
    scratch.succeeds("translate run --input data/testA/0.png --output out --device cpu --quiet");
    let mut child = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args("translate run --input - --output - --device cpu".split(' '))
        .current_dir(scratch.0.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let picture = fs::read(scratch.path("data/testA/0.png")).unwrap();
    child.stdin.take().unwrap().write_all(&picture).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let piped = scratch.path("piped.png");
    fs::write(&piped, output.stdout).unwrap();
    let [piped, plain] = [piped, scratch.path("out/0.png")].map(|path| images::decode(&path));
    assert_eq!(piped.unwrap(), plain.unwrap());
    scratch.fails(
        "translate run --input data/testA --output - --device cpu",
        &["one picture", "folder"],
    );
}

#[test]
fn faces_are_translated_where_they_are_and_the_rest_stays() {
    let scratch = Scratch::new();
    scratch.train("run");
    let orl = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/orl");
    let mut scene = images::RgbImage::from_pixel(460, 200, images::Rgb([90; 3]));
    let middles = [(20 + 46, 50 + 60), (300 + 46, 40 + 60)];
    for (name, (x, y)) in ["s01_01.png", "s05_01.png"].into_iter().zip(middles) {
        let person = images::decode(&orl.join(name)).unwrap();
        images::paste(&mut scene, &person, x - 46, y - 60);
    }
    scene.save(scratch.path("scene.png")).unwrap();
    scratch.succeeds("translate run --input scene.png --output out --faces --device cpu --quiet");
    let made = images::decode(&scratch.path("out/scene.png")).unwrap();
    assert_eq!(made.dimensions(), scene.dimensions());
    for (x, y) in middles {
        assert_ne!(made.get_pixel(x, y), scene.get_pixel(x, y), "{x}, {y}");
    }
    for (x, y) in [(5, 5), (220, 100), (455, 195)] {
        assert_eq!(made.get_pixel(x, y), scene.get_pixel(x, y), "{x}, {y}");
    }
    let plain = "translate run --input data/testA/0.png --output none --faces --device cpu";
    scratch.fails(plain, &["no face was found", "0.png"]);
    scratch.fails(
        "translate run --input scene.png --output out --faces --direction BtoA",
        &["--faces", "direction"],
    );
}

#[test]
fn tiles_make_the_same_pictures_in_less_memory() {
    let scratch = Scratch::new();
    scratch.train("run");
    fs::create_dir(scratch.path("in")).unwrap();
    for (w, h) in [(301, 150), (130, 257), (1, 300), (60, 60)] {
        picture(w, h, 1)
            .save(scratch.path(&format!("in/{w}x{h}.png")))
            .unwrap();
    }
    let translate = "translate run --input in --device cpu --output";
    scratch.succeeds(&format!("{translate} whole"));
    scratch.succeeds(&format!("{translate} tiles --tile 64"));
    // So little that the larger ones don't fit.
    scratch.succeeds(&format!("{translate} little --memory 66MB"));
    for folder in ["tiles", "little"] {
        assert_eq!(files(&scratch.path(folder)), files(&scratch.path("whole")));
        for name in files(&scratch.path("whole")) {
            let [a, b] = [folder, "whole"]
                .map(|folder| images::decode(&scratch.path(folder).join(&name)).unwrap());
            assert_eq!(a.dimensions(), b.dimensions());
            let apart = a.as_raw().iter().zip(b.as_raw());
            let worst = apart.map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "{folder}/{name}: {worst:?} levels apart");
        }
    }
    scratch.fails(
        &format!("{translate} none --memory 1MB"),
        &["301x150.png", "--memory", "1MB"],
    );
    assert!(files(&scratch.path("none")).is_empty());
}

#[cfg(unix)]
#[test]
fn ctrl_c_between_tiles_leaves_no_part_of_a_picture() {
    let scratch = Scratch::new();
    scratch.train("run");
    picture(1200, 1200, 1)
        .save(scratch.path("large.png"))
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .current_dir(scratch.0.path())
        .args([
            "translate",
            "run",
            "--input",
            "large.png",
            "--output",
            "out",
        ])
        .args(["--device", "cpu", "--tile", "4"])
        .spawn()
        .unwrap();
    // It listens for Ctrl-C before it makes the folder.
    while !scratch.path("out").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it takes hours");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(files(&scratch.path("out")).is_empty());
}

#[test]
fn pictures_that_cannot_be_read_do_not_keep_others_from_translation() {
    let scratch = Scratch::new();
    scratch.train("run");
    fs::create_dir(scratch.path("in")).unwrap();
    picture(20, 20, 1)
        .save(scratch.path("in/good.png"))
        .unwrap();
    fs::write(scratch.path("in/text.jpg"), "this is text").unwrap();
    let translate = "translate run --input in --output out --device cpu";
    scratch.fails(translate, &["text.jpg", "not an image"]);
    assert_eq!(files(&scratch.path("out")), ["good.png"]);
    scratch.fails(
        "translate run --input nowhere.png --output out --device cpu",
        &["nowhere.png"],
    );
}

#[test]
fn data_that_cannot_be_trained_on() {
    let scratch = Scratch::new();
    let train = |data: &str| format!("--data {data} --out run {SMALL}");
    scratch.fails(&train("nowhere"), &["nowhere", "trainA", "prepare-faces"]);

    fs::create_dir_all(scratch.path("empty/trainA")).unwrap();
    fs::create_dir_all(scratch.path("empty/trainB")).unwrap();
    scratch.fails(&train("empty"), &["no images", "trainA"]);

    fs::create_dir_all(scratch.path("half")).unwrap();
    fs::rename(scratch.path("data/trainA"), scratch.path("half/trainA")).unwrap();
    scratch.fails(&train("half"), &["half/trainB"]);

    fs::rename(scratch.path("half/trainA"), scratch.path("data/trainA")).unwrap();
    fs::write(scratch.path("data/trainA/text.jpg"), "this is text").unwrap();
    let whole = fs::read(scratch.path("data/trainA/0.png")).unwrap();
    fs::write(
        scratch.path("data/trainA/short.png"),
        &whole[..whole.len() / 2],
    )
    .unwrap();
    scratch.fails(
        &train("data"),
        &["text.jpg", "short.png", "cut short", "Remove them"],
    );
    assert!(!scratch.path("run").exists(), "nothing half-written");
}

#[test]
fn pictures_of_odd_shapes_are_trained_on() {
    let scratch = Scratch::new();
    picture(1, 1, 0)
        .save(scratch.path("data/trainA/dot.png"))
        .unwrap();
    picture(20_000, 10, 0)
        .save(scratch.path("data/trainB/line.png"))
        .unwrap();
    scratch.train("run");
}

#[test]
fn options_that_do_not_work() {
    let scratch = Scratch::new();
    let with = |more: &str| format!("--data data --out run {SMALL} {more}");
    let replace = |from: &str, to: &str| with("").replace(from, to);
    scratch.fails(
        &replace("--size 32", "--size 33"),
        &["size = 33", "try 32 or 36"],
    );
    scratch.fails(&replace("--size 32", "--size 12"), &["PatchGAN"]);
    scratch.fails(&replace("--load-size 36", "--load-size 20"), &["load_size"]);
    scratch.fails(&with("--generator unet_128"), &["unet_128", "128"]);
    scratch.fails(&with("--batch 0"), &["batch"]);
    scratch.fails(
        &replace("--device cpu", "--device no-such-device"),
        &["no-such-device"],
    );
    assert!(!scratch.path("run").exists(), "nothing half-written");

    fs::write(scratch.path("typo.toml"), "lamda_a = 5\n").unwrap();
    scratch.fails(
        &with("--config typo.toml"),
        &["lamda_a", "did you mean lambda_a", "typo.toml"],
    );
    fs::write(scratch.path("type.toml"), "pool_size = \"wide\"\n").unwrap();
    scratch.fails(&with("--config type.toml"), &["pool_size", "type.toml"]);
    scratch.fails(&with("--config nowhere.toml"), &["nowhere.toml"]);
}

#[test]
fn usage_errors_exit_with_2() {
    let scratch = Scratch::new();
    for args in [
        "--no-such-flag",
        "--steps many",
        "--generator resnet_7blocks",
        "translate",
    ] {
        assert_eq!(scratch.trainer(args).status.code(), Some(2), "{args}");
    }
}

#[test]
fn runs_and_checkpoints_that_are_not_there_or_broken() {
    let scratch = Scratch::new();
    picture(20, 20, 1).save(scratch.path("a.png")).unwrap();
    let translate = |run: &str| format!("translate {run} --input a.png --output out --device cpu");
    scratch.fails(&translate("nowhere"), &["nowhere"]);
    scratch.fails(&translate("data"), &["data", "not the folder of a run"]);
    scratch.fails(
        "--resume data --quiet",
        &["data", "not the folder of a run"],
    );

    scratch.train("run");
    let newest = scratch.path("run/checkpoints/000004.safetensors");
    let whole = fs::read(&newest).unwrap();
    let named = translate("run/checkpoints/000004.safetensors");
    for len in [0, 7, 5000, whole.len() - 1] {
        fs::write(&newest, &whole[..len]).unwrap();
        scratch.fails(&named, &["000004.safetensors", "cut short"]);
    }
    assert!(!scratch.path("out").exists(), "nothing half-written");
    scratch.fails(
        &format!("--data data --out run {SMALL}"),
        &["run", "--resume"],
    );
    scratch.succeeds(&translate("run/checkpoints/000002.safetensors"));
}

#[test]
fn folders_that_cannot_be_written() {
    let scratch = Scratch::new();
    // Below a regular file nobody can write, not even root.
    fs::write(scratch.path("file"), "").unwrap();
    scratch.fails(
        &format!("--data data --out file/run {SMALL}"),
        &["file/run", "--out"],
    );
    scratch.train("run");
    let translate = "translate run --input data/testA --output file/out --device cpu";
    scratch.fails(translate, &["file/out", "--output"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_says_how_to_go_on_and_exits_130() {
    let scratch = Scratch::new();
    let args = format!("--data data --out run {SMALL}").replace("--steps 4", "--steps 100000");
    let mut child = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .current_dir(scratch.0.path())
        .args(args.split_whitespace())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let metrics = scratch.path("run/metrics.jsonl");
    while !fs::metadata(&metrics).is_ok_and(|metadata| metadata.len() > 0) {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it must run until it is stopped"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(
        stderr(&output).contains("--resume run"),
        "{}",
        stderr(&output)
    );
    let steps = fs::read_to_string(&metrics).unwrap().lines().count();
    let latest = fs::read_to_string(scratch.path("run/checkpoints/latest")).unwrap();
    assert_eq!(
        latest.trim(),
        format!("{steps:06}.safetensors"),
        "the last step is saved"
    );
}

#[test]
fn devices_lists_the_processor() {
    let output = Scratch::new().succeeds("devices");
    assert!(String::from_utf8_lossy(&output.stdout).contains("--device cpu"));
}

#[test]
fn bench_measures_steps_translation_and_operations() {
    let scratch = Scratch::new();
    let small = "bench --size 32 --ngf 4 --ndf 4 --steps 2 --device cpu";
    let text = stdout(&scratch.succeeds(small));
    assert!(
        text.contains("training step") && text.contains("GFLOP/s"),
        "{text}"
    );
    let json = stdout(&scratch.succeeds(&format!("{small} --json")));
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["ngf"], 4);
    assert!(report["tensor_memory"].as_u64().unwrap() > 0);
    let [step, translation] = &report["measurements"].as_array().unwrap()[..] else {
        panic!("{json}")
    };
    assert_eq!(
        (&step["runs"], &translation["runs"]),
        (&2.into(), &2.into())
    );
    let flops = |what: &serde_json::Value| {
        what["gflop_per_second"].as_f64().unwrap() * what["median"].as_f64().unwrap()
    };
    // Six passes forward and as many back, of which each costs two, against one: more than tenfold.
    assert!(flops(step) > 10.0 * flops(translation), "{json}");
    // Larger than what the preset loads.
    let large = "bench --size 72 --ngf 4 --ndf 4 --steps 1 --device cpu";
    assert!(stdout(&scratch.succeeds(large)).contains("72×72"));
    let operations = stdout(&scratch.succeeds("bench --operations adam --device cpu --json"));
    assert_eq!(operations.lines().count(), 2, "{operations}");
    scratch.fails("bench --size 30 --device cpu", &["size = 30"]);
}

#[test]
fn a_run_that_does_not_fit_is_refused_with_what_would() {
    let scratch = Scratch::new();
    let options = format!("--data data --out run {SMALL}");
    let with = |stated: &str, args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .current_dir(scratch.0.path())
            .args(args.split_whitespace());
        command.env_remove("HENSHIN_DEVICE");
        command
            .env("HENSHIN_DEVICE_MEMORY", stated)
            .output()
            .unwrap()
    };
    let refused = |stated: &str, args: &str, names: &[&str]| {
        let output = with(stated, args);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert_eq!(message.trim().lines().count(), 1, "{message}");
        for name in names {
            assert!(message.contains(name), "no {name}: {message}");
        }
    };
    refused(
        "1MiB",
        &options,
        &["32×32 with batch 1", "1.00 MiB", "any size"],
    );
    let large = format!("{options} --batch 28");
    let names = [
        "batch 28",
        "batches of up to",
        "sizes of up to",
        "weights",
        "--checkpoint-activations",
    ];
    refused("80MiB", &large, &names);
    refused("much", &options, &["HENSHIN_DEVICE_MEMORY", "much", "GiB"]);
    assert!(!scratch.path("run").exists(), "nothing is left of them");
    assert!(with("80MiB", &options).status.success());
    let planned = with("80MiB", &format!("plan {large}"));
    let table = stdout(&planned);
    assert!(planned.status.success(), "{}", stderr(&planned));
    for name in [
        "weights",
        "optimiser",
        "activations",
        "image pools",
        "pictures",
        "80.00 MiB",
    ] {
        assert!(table.contains(name), "no {name}: {table}");
    }
}

#[test]
fn recomputed_activations_change_nothing_but_memory() {
    let scratch = Scratch::new();
    scratch.train("kept");
    scratch.succeeds(&format!(
        "--data data --out again {SMALL} --checkpoint-activations"
    ));
    let metrics = |run: &str| fs::read(scratch.path(run).join("metrics.jsonl")).unwrap();
    assert_eq!(metrics("kept"), metrics("again"));
    let config = fs::read_to_string(scratch.path("again").join("config.toml")).unwrap();
    assert!(config.contains("checkpoint_activations = true"));
}
