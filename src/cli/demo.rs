//! `lakegate demo`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::app::board::Totals;
use crate::app::demo::{DemoError, Line, Narrator, Outcome, demo, json_line, lines};
use crate::cli::{exit, run};
use crate::clock::{Stopwatch, SystemClock};

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for everything the demo makes; emptied if it is an earlier demo's.
    #[arg(long, value_name = "DIR", default_value = "lakegate-demo")]
    pub dir: PathBuf,
    /// One JSON line per object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Tells the story on stderr, so that stdout holds the result alone.
struct Teller {
    started: Stopwatch,
    live: bool,
    shown: u64,
}

impl Narrator for Teller {
    fn say(&mut self, text: &str) {
        let clear = if self.live { "\r\u{1b}[K" } else { "" };
        eprintln!("{clear}{:6.2} s  {text}", self.started.elapsed().as_secs_f64());
    }

    fn progress(&mut self, totals: &Totals, in_flight: usize) {
        let ended = totals.objects.landed - in_flight as u64;
        if self.live && ended != self.shown {
            self.shown = ended;
            eprint!("\r\u{1b}[K          {ended} of {} objects have come to their end", totals.objects.landed);
        }
    }
}

pub async fn run(args: DemoArgs) -> ExitCode {
    let started = Stopwatch::start();
    let mut teller = Teller { started, live: std::io::stderr().is_terminal(), shown: 0 };
    teller.say("lakegate demo: landed is not trusted");
    match demo(&args.dir, Arc::new(SystemClock), &mut teller).await {
        Ok(outcome) => {
            teller.say("done");
            show(&args, &outcome);
            if outcome.is_repaired() {
                exit::OK.into()
            } else {
                exit::report(&anyhow::anyhow!("{} was not published by its replay", outcome.repaired), exit::INTERNAL)
            }
        }
        Err(e) => {
            let code = match &e {
                DemoError::Run(e) => run::code_of(e),
                DemoError::Occupied { .. } => exit::USAGE,
                DemoError::Write { .. } | DemoError::Replay { .. } => exit::INTERNAL,
            };
            exit::report(&e.into(), code)
        }
    }
}

fn show(args: &DemoArgs, outcome: &Outcome) {
    let all = lines(&outcome.endings);
    if args.json {
        all.iter().for_each(|line| println!("{}", json_line(line)));
        return;
    }
    let (burst, told): (Vec<&Line>, Vec<&Line>) = all.iter().partition(|l| l.object.contains("/burst_"));
    let mut rows: Vec<[String; 7]> = told.iter().map(|l| cells(l)).collect();
    let sum = |f: fn(&Line) -> u64| burst.iter().map(|l| f(l)).sum::<u64>().to_string();
    let published = burst.iter().filter(|l| l.status == crate::stage::letters::State::Published).count();
    rows.push([
        format!("… and {} tiny files, burst_*.csv", burst.len()),
        format!("{published} PUBLISHED"),
        String::new(),
        sum(|l| l.rows.physical),
        sum(|l| l.rows.published),
        sum(|l| l.rows.quarantined),
        "one each".to_owned(),
    ]);
    print_table(["file", "status", "reason", "in", "published", "quarantined", "run"], &rows);
    let t = &outcome.totals;
    println!(
        "\n{} landed: {} published, {} quarantined, {} duplicate; {} rows published in {} s",
        t.objects.landed, t.objects.published, t.objects.quarantined, t.objects.duplicate, t.rows.published, t.seconds
    );
    if outcome.is_repaired() {
        println!("{} was quarantined, its contract repaired, and replayed: published once.", outcome.repaired);
    }
    let lake = outcome.lake.display();
    println!(
        "\nThe tables:      duckdb -c \"select ingest_date, count(*) from read_parquet('{lake}/curated/flights/**/*.parquet', hive_partitioning=true, union_by_name=true) group by 1 order by 1\""
    );
    println!("The letters:     ls -R {lake}/quarantine\nQuality reports: ls {lake}/dq-results/orders/*");
}

fn cells(line: &Line) -> [String; 7] {
    let file = line.object.rsplit('/').next().unwrap_or(&line.object).to_owned();
    let status = match &line.replay_id {
        Some(_) => format!("{} (replay)", line.status.as_str()),
        None => line.status.as_str().to_owned(),
    };
    [
        file,
        status,
        line.reason.clone(),
        line.rows.physical.to_string(),
        line.rows.published.to_string(),
        line.rows.quarantined.to_string(),
        line.run_id.clone(),
    ]
}

fn print_table(head: [&str; 7], rows: &[[String; 7]]) {
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).chain([head[i].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .enumerate()
            .map(|(i, c)| if (3..6).contains(&i) { format!("{c:>w$}", w = widths[i]) } else { format!("{c:<w$}", w = widths[i]) });
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(head.to_vec());
    rows.iter().for_each(|r| line(r.iter().map(String::as_str).collect()));
}
