//! `trainer watch` and `trainer report`: a run on a page, live or in a file.
//!
//! Three threads: one reads the run's files now and then (`follower`), one answers browsers (`server`), and the
//! main one, which operations on the processor count on, translates pictures (`studio`).

mod follower;
mod overview;
mod page;
mod series;
mod server;
mod studio;
mod tail;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::{Semaphore, broadcast};

pub use self::follower::read_all;
pub use self::series::group;

use self::follower::Follower;
use self::overview::Overview;
use self::server::{BACKLOG, Shared, lock};
use self::studio::Studio;
use crate::cli::{ReportArgs, WatchArgs};
use crate::devices;
use crate::report::result;
use crate::run_dir::RunDir;
use crate::train::Ending;

/// The port that is tried first, and how many after it.
const PORT: u16 = 6116;
const PORTS: u16 = 20;

/// Between two looks at a run's files.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Serves a run's page, until the program is ended.
///
/// # Errors
/// With what is wrong and what to do.
pub fn run(args: &WatchArgs) -> Result<Ending> {
    let run = RunDir::open(&args.run)?;
    let device = devices::open(&args.device, true, "")?;
    let listener = listen(args.address, args.port)?;
    let bound = listener.local_addr()?;

    let mut follower = Follower::new(run.clone());
    follower.look();
    let follower = Arc::new(Mutex::new(follower));
    let (news, _) = broadcast::channel(BACKLOG);
    let (jobs, orders) = mpsc::channel();
    let shared = Arc::new(Shared {
        run: run.clone(),
        follower: follower.clone(),
        news: news.clone(),
        jobs,
        turn: Semaphore::new(1),
        bound,
    });
    thread::spawn(move || {
        loop {
            thread::sleep(LOOK_EVERY);
            for item in lock(&follower).look() {
                // Nobody may be listening.
                let _ = news.send(item);
            }
        }
    });
    listener.set_nonblocking(true)?;
    let serving = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            server::serve(listener, shared).await
        })
    });
    result(&format!(
        "watching {} at http://{bound}/ (Ctrl-C ends it)",
        run.path().display()
    ));
    let mut studio = Studio::new(run, device);
    for (order, answer) in orders {
        // Whoever asked may have gone.
        let _ = answer.send(studio.translate(order));
    }
    serving
        .join()
        .map_err(|_| anyhow!("the server broke down; start it again"))??;
    Ok(Ending::Finished)
}

/// Listens where it was asked for, or at the first port that is free.
fn listen(address: IpAddr, port: Option<u16>) -> Result<TcpListener> {
    let ports: Vec<u16> = match port {
        Some(port) => vec![port],
        None => (PORT..PORT + PORTS).chain([0]).collect(),
    };
    for &port in &ports {
        match TcpListener::bind(SocketAddr::new(address, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "{address} can't be listened on at port {port}; give an address of this machine with \
                         --address, and a port above 1023 with --port"
                    )
                });
            }
        }
    }
    bail!(
        "port {} is taken; leave --port out for one that is free",
        ports[0]
    )
}

/// Writes a run's page into a file.
///
/// # Errors
/// With what is wrong and what to do.
pub fn report(args: &ReportArgs) -> Result<Ending> {
    let run = RunDir::open(&args.run)?;
    let output = args.output.clone().unwrap_or_else(|| run.report());
    page::write(&run, Overview::of(&run), &output)?;
    result(&output.display().to_string());
    Ok(Ending::Finished)
}

/// Writes the page of a run that has just ended into its folder; returns where.
///
/// # Errors
/// When it can't be written.
pub fn write_report(run: &RunDir) -> Result<PathBuf> {
    let output = run.report();
    page::write(run, Overview::at_the_end(run), &output)?;
    Ok(output)
}
