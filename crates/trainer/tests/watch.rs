//! A run on a page, live and in a file: real requests to the program, and what TensorBoard is given.

mod scratch;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use scratch::{SMALL, Scratch, files, stderr, stdout};
use serde_json::Value;

/// `trainer watch` at work, until the test is over.
struct Watch {
    child: Child,
    address: String,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Watch {
    fn begin(scratch: &Scratch, args: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_trainer"))
            .current_dir(scratch.0.path())
            .args(["watch"])
            .args(args.split_whitespace())
            .env_remove("HENSHIN_DEVICE")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let (_, rest) = line
            .split_once("http://")
            .unwrap_or_else(|| panic!("{line}"));
        let address = rest.split_once('/').unwrap().0.to_owned();
        Watch { child, address }
    }

    fn connect(&self, request: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        // A server that has seen enough may close.
        let _ = stream.write_all(body);
        stream
    }

    fn ask(&self, request: &str, body: &[u8]) -> Answer {
        let mut all = Vec::new();
        let _ = self.connect(request, body).read_to_end(&mut all);
        let end = all
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("a head");
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer {
            status,
            head: head.to_lowercase(),
            body: all[end + 4..].to_vec(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        let host = &self.address;
        self.ask(
            &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            b"",
        )
    }

    fn post(&self, path: &str, headers: &str, body: &[u8]) -> Answer {
        let (host, len) = (&self.address, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n"
        );
        self.ask(&head, body)
    }
}

fn png(data: &str) -> images::RgbImage {
    use base64::Engine;
    let base64 = data.strip_prefix("data:image/png;base64,").unwrap();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(base64)
        .unwrap();
    images::decode_bytes("x".as_ref(), bytes, images::Rgb([0; 3]), 1 << 20).unwrap()
}

#[test]
fn a_run_is_served_with_all_that_it_has_and_nothing_else() {
    let scratch = Scratch::new();
    scratch.train("run");
    let watch = Watch::begin(&scratch, "run --port 0");

    let page = watch.get("/");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("page.js") && page.head.contains("content-security-policy"));
    for (path, kind) in [("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        let part = watch.get(path);
        assert_eq!(part.status, 200, "{path}");
        assert!(
            part.head.contains(&format!("content-type: {kind}")),
            "{}",
            part.head
        );
    }
    let series = watch.get("/series?points=2").json();
    let losses = series
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["name"] == "G_A")
        .unwrap();
    assert_eq!(
        (&losses["group"], &losses["last"]),
        (&"G".into(), &4.into())
    );
    assert_eq!(losses["steps"].as_array().unwrap().len(), 2);
    assert_eq!(losses["max"].as_array().unwrap().len(), 2);
    let part = watch.get("/series?from=3&to=3").json();
    let losses = part
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["name"] == "D_B")
        .unwrap();
    assert_eq!(losses["steps"], serde_json::json!([3]));

    let sample = watch.get("/samples/2");
    assert!(sample.status == 200 && sample.head.contains("image/png"));
    let file = fs::read(scratch.path("run/samples/000002.png")).unwrap();
    assert!(sample.body == file);

    fs::write(scratch.path("secret.png"), "not for you").unwrap();
    for path in [
        "/samples/3",
        "/samples/..%2f..%2fsecret",
        "/samples/../../secret.png",
        "/samples/000002.png",
        "/samples/-1",
        "/samples/99999999999999999999",
        "/config.toml",
        "/..%2fsecret.png",
        "//etc/passwd",
    ] {
        let answer = watch.get(path);
        assert!(
            [400, 404].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.text().contains("not for you"), "{path}");
    }
    for path in ["/series?points=x", "/series?from=-1"] {
        assert_eq!(watch.get(path).status, 400, "{path}");
    }
    assert_eq!(watch.get("/translate").status, 405);
    let foreign = watch.ask(
        "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"",
    );
    assert_eq!(foreign.status, 403);
}

#[test]
fn what_a_run_writes_comes_through_the_stream() {
    let scratch = Scratch::new();
    scratch.train("run");
    let watch = Watch::begin(&scratch, "run --port 0");
    let host = &watch.address;
    let stream = watch.connect(
        &format!("GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        b"",
    );
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = |event: &str| -> String {
        lines
            .find(|line| *line == format!("event: {event}"))
            .unwrap();
        lines.next().unwrap()
    };
    let overview = next("run");
    let overview: Value = serde_json::from_str(overview.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(
        (&overview["state"], &overview["step"]),
        (&"finished".into(), &4.into())
    );
    assert_eq!(overview["checkpoints"], serde_json::json!([2, 4]));

    let append = |text: &str| {
        let file = OpenOptions::new()
            .append(true)
            .open(scratch.path("run/metrics.jsonl"));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    append("{\"step\":5,\"G_A\":0.");
    std::thread::sleep(Duration::from_millis(1200));
    append("75,\"kid_AtoB\":3}\n");
    assert_eq!(
        next("lines"),
        "data: [{\"G_A\":0.75,\"kid_AtoB\":3,\"step\":5}]"
    );
    let series = watch.get("/series").json();
    let kid = series
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["name"] == "kid_AtoB")
        .unwrap();
    assert_eq!(
        (&kid["group"], &kid["mean"]),
        (&"kid".into(), &serde_json::json!([3.0]))
    );

    // The run goes back to step 2.
    let metrics = fs::read_to_string(scratch.path("run/metrics.jsonl")).unwrap();
    let first: String = metrics.split_inclusive('\n').take(2).collect();
    fs::write(scratch.path("run/metrics.jsonl"), first).unwrap();
    next("again");
    let series = watch.get("/series").json();
    assert!(
        series
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["last"].as_u64().unwrap() <= 2),
        "{series}"
    );
}

#[test]
fn pictures_are_translated_by_the_newest_checkpoint() {
    let scratch = Scratch::new();
    scratch.train("run");
    let watch = Watch::begin(&scratch, "run --port 0");
    let picture = fs::read(scratch.path("data/testA/1.png")).unwrap();

    let answer = watch.post("/translate?direction=AtoB", "", &picture);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["step"], 4);
    let [before, after] = ["before", "after"].map(|side| png(answer[side].as_str().unwrap()));
    assert_eq!(
        before,
        images::decode(&scratch.path("data/testA/1.png")).unwrap()
    );
    // What the command makes of it.
    scratch.succeeds("translate run --input data/testA/1.png --output out --device cpu --quiet");
    assert_eq!(after, images::decode(&scratch.path("out/1.png")).unwrap());
    let back = watch
        .post("/translate?direction=BtoA&side=32", "", &picture)
        .json();
    assert_eq!((&back["width"], &back["height"]), (&34.into(), &32.into()));
    assert_ne!(back["after"], answer["after"]);

    // A newer checkpoint is taken from then on.
    scratch.succeeds("--resume run --steps 6 --quiet");
    let newer = watch.post("/translate?direction=AtoB", "", &picture).json();
    assert_eq!(newer["step"], 6);
    assert_ne!(newer["after"], answer["after"]);

    for (path, body, status, names) in [
        (
            "/translate?direction=AtoB",
            &b"no picture at all"[..],
            422,
            "not an image",
        ),
        (
            "/translate?direction=AtoB",
            &picture[..100],
            422,
            "damaged or cut short",
        ),
        ("/translate?direction=AtoB", b"", 422, "the file is empty"),
        ("/translate?direction=up", &picture, 400, "AtoB or BtoA"),
        (
            "/translate?direction=AtoB&side=9999",
            &picture,
            400,
            "16 to 2048",
        ),
    ] {
        let answer = watch.post(path, "", body);
        assert_eq!(answer.status, status, "{}", answer.text());
        let error = answer.json();
        assert!(error["error"].as_str().unwrap().contains(names), "{error}");
    }
    let large = vec![0; (32 << 20) + 1];
    let answer = watch.post("/translate?direction=AtoB", "", &large);
    assert_eq!(answer.status, 413);
    let foreign = "Origin: http://evil.example\r\n";
    assert_eq!(
        watch
            .post("/translate?direction=AtoB", foreign, &picture)
            .status,
        403
    );
    let own = format!("Origin: http://{}\r\n", watch.address);
    assert_eq!(
        watch
            .post("/translate?direction=AtoB", &own, &picture)
            .status,
        200
    );

    fs::remove_dir_all(scratch.path("run/checkpoints")).unwrap();
    fs::create_dir(scratch.path("run/checkpoints")).unwrap();
    let answer = watch.post("/translate?direction=AtoB", "", &picture);
    assert!(
        answer.text().contains("no checkpoint yet"),
        "{}",
        answer.text()
    );
}

#[test]
fn ports_that_are_taken_are_said_or_passed_over() {
    let scratch = Scratch::new();
    scratch.train("run");
    let one = Watch::begin(&scratch, "run");
    let two = Watch::begin(&scratch, "run");
    assert_ne!(one.address, two.address);
    assert_eq!(two.get("/").status, 200);
    let port = one.address.split_once(':').unwrap().1;
    scratch.fails(&format!("watch run --port {port}"), &[port, "--port"]);
    scratch.fails("watch nowhere", &["nowhere"]);
    scratch.fails("watch run --address 192.0.2.1", &["192.0.2.1", "--address"]);
}

#[test]
fn a_report_needs_nothing_but_itself() {
    let scratch = Scratch::new();
    scratch.train("run");
    let written = fs::read_to_string(scratch.path("run/report.html")).unwrap();
    let output = scratch.succeeds("report run --output again.html");
    assert_eq!(stdout(&output).trim(), "again.html");
    assert_eq!(
        fs::read_to_string(scratch.path("again.html")).unwrap(),
        written
    );

    for outside in [
        "http:",
        "https:",
        "src=\"page",
        "href=\"page",
        "<link rel=\"style",
    ] {
        assert!(!written.contains(outside), "{outside}");
    }
    let (_, data) = written.split_once("id=\"inlined\">").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(data["overview"]["state"], "finished");
    assert_eq!(data["series"][0]["last"], 4);
    let sheets = data["sheets"].as_object().unwrap();
    let steps: Vec<&str> = sheets.keys().map(String::as_str).collect();
    assert_eq!(steps, ["0", "2", "4"]);
    assert!(
        sheets["4"]["url"]
            .as_str()
            .unwrap()
            .starts_with("data:image/jpeg;base64,")
    );

    fs::write(
        scratch.path("run/config.toml"),
        "data = \"</script><script>alert(1)\"",
    )
    .unwrap();
    scratch.succeeds("report run");
    let hostile = fs::read_to_string(scratch.path("run/report.html")).unwrap();
    assert!(!hostile.contains("<script>alert"));
    scratch.fails(
        "report run --output no/where.html",
        &["no/where.html", "--output"],
    );
    scratch.fails("report nowhere", &["nowhere"]);
}

#[test]
fn event_files_are_written_when_asked_for() {
    let scratch = Scratch::new();
    let small = SMALL.replace("--steps 4", "--steps 3");
    scratch.succeeds(&format!("--data data --out run {small} --tensorboard"));
    let folder = scratch.path("run/tensorboard");
    let first = files(&folder);
    assert_eq!(first.len(), 1);
    let content = fs::read(folder.join(&first[0])).unwrap();
    let holds = |content: &[u8], text: &str| {
        content
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    for name in [
        "brain.Event:2",
        "G/G_A",
        "gradient_norm/gradient_norm_D",
        "samples",
    ] {
        assert!(holds(&content, name), "{name}");
    }
    let sheet = fs::read(scratch.path("run/samples/000003.png")).unwrap();
    assert!(content.windows(sheet.len()).any(|window| window == sheet));
    // A run that goes on leaves it as it is.
    let output = scratch.succeeds("--resume run --steps 5");
    assert!(!stderr(&output).contains("tensorboard"));
    let both = files(&folder);
    assert_eq!(both.len(), 2);
    assert!(fs::read(folder.join(&first[0])).unwrap() == content);
    scratch.succeeds("--resume run --steps 6 --quiet --tensorboard false");
    assert_eq!(files(&folder), both);
}
