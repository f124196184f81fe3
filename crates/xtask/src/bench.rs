//! stampgate beside nginx, in one run: the same routing work, one worker each, pinned to one core,
//! rounds interleaved. CPU is user and system time of the proxy's processes by /proc; only the
//! ratios mean anything on a shared machine.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::run::{Done, print, root, say};

/// Rounds, unless told otherwise.
pub(crate) const ROUNDS: usize = 5;
const SECONDS_A_ROUND: u32 = 4;
const CONNECTIONS: u32 = 64;
/// Clock ticks a second of /proc/PID/stat, the same on every Linux that runs this.
const TICKS_PER_SECOND: f64 = 100.0;

const ORIGIN_PORT: u16 = 21_000;
const NGINX_PORT: u16 = 21_010;
const STAMPGATE_PORT: u16 = 21_020;
const ADMIN_PORT: u16 = 21_021;
const STAMPS: u16 = 4;

/// A program under test, stopped by pid when dropped.
struct Running {
    name: &'static str,
    port: u16,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx in the foreground ends its workers on TERM; so does stampgate.
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

/// What one round of one proxy showed.
#[derive(Clone, Copy)]
struct Round {
    cpu_us_per_request: f64,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Measures and prints the table.
pub(crate) fn run(rounds: usize) -> Done {
    for program in ["nginx", "wrk", "taskset"] {
        let mut command = Command::new(program);
        command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
        if command.status().is_err() {
            return Err(format!("{program} is missing: apt-get install nginx-light wrk").into());
        }
    }

    let directory = root().join("target/bench");
    fs::create_dir_all(&directory)?;
    let script = directory.join("hosts.lua");
    fs::write(&script, HOSTS_LUA)?;
    let _origin = start_nginx("origin", ORIGIN_PORT, &directory, &origin_conf(), "0")?;
    let nginx = start_nginx("nginx", NGINX_PORT, &directory, &proxy_conf(), "1")?;
    let stampgate = start_stampgate(&directory)?;
    let proxies = [nginx, stampgate];
    for proxy in &proxies {
        round(proxy, &script, 1)?;
    }
    let mut results = vec![Vec::new(); proxies.len()];
    for number in 1..=rounds {
        say(&format!("round {number} of {rounds}"));
        for (proxy, results) in proxies.iter().zip(&mut results) {
            results.push(round(proxy, &script, SECONDS_A_ROUND)?);
        }
    }
    let names: Vec<&str> = proxies.iter().map(|proxy| proxy.name).collect();
    report(&names, &results);
    Ok(())
}

fn report(names: &[&str], results: &[Vec<Round>]) {
    let median = |rounds: &[Round], of: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let base = results.first().map_or(f64::NAN, |it| median(it, |round| round.cpu_us_per_request));
    print("| proxy | CPU us/request | ratio | requests/s | p50 us | p99 us |");
    print("|---|---|---|---|---|---|");
    for (name, rounds) in names.iter().zip(results) {
        let cpu = median(rounds, |round| round.cpu_us_per_request);
        print(&format!(
            "| {name} | {cpu:.2} | {:.3} | {:.0} | {:.0} | {:.0} |",
            cpu / base,
            median(rounds, |round| round.requests_per_second),
            median(rounds, |round| round.p50_us),
            median(rounds, |round| round.p99_us),
        ));
    }
}

fn round(proxy: &Running, script: &Path, seconds: u32) -> Result<Round, Box<dyn Error>> {
    let before = cpu_seconds(proxy.child.id())?;
    let output = Command::new("taskset")
        .args(["-c", "0", "wrk", "-t1", "--latency"])
        .arg(format!("-c{CONNECTIONS}"))
        .arg(format!("-d{seconds}s"))
        .arg("-s")
        .arg(script)
        .arg(format!("http://127.0.0.1:{}/hello?a=b", proxy.port))
        .output()?;
    let used = cpu_seconds(proxy.child.id())? - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("{} failed requests:\n{text}", proxy.name).into());
    }
    let number = |marker: &str| -> Result<f64, Box<dyn Error>> {
        let line = text.lines().find(|line| line.contains(marker));
        let word = line.and_then(|line| line.split_whitespace().find(|word| is_number(word)));
        Ok(word.ok_or_else(|| format!("wrk did not tell `{marker}`:\n{text}"))?.parse()?)
    };
    let requests = number("requests in")?;
    Ok(Round {
        cpu_us_per_request: used * 1e6 / requests,
        requests_per_second: number_after(&text, "Requests/sec:").unwrap_or(f64::NAN),
        p50_us: latency(&text, "50%"),
        p99_us: latency(&text, "99%"),
    })
}

fn is_number(word: &str) -> bool {
    word.parse::<f64>().is_ok()
}

fn number_after(text: &str, marker: &str) -> Option<f64> {
    text.split(marker).nth(1)?.split_whitespace().next()?.parse().ok()
}

/// wrk writes "1.23ms", "456.00us" or "1.00s".
fn latency(text: &str, percentile: &str) -> f64 {
    let line = text.lines().find(|line| line.trim_start().starts_with(percentile));
    let word = line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_default();
    for (unit, factor) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = word.strip_suffix(unit).and_then(|number| number.parse::<f64>().ok())
        {
            return number * factor;
        }
    }
    f64::NAN
}

/// User and system time of a process and its children that still run.
fn cpu_seconds(pid: u32) -> Result<f64, Box<dyn Error>> {
    let mut ticks = ticks_of(pid)?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    for child in children.split_whitespace() {
        ticks += ticks_of(child.parse()?)?;
    }
    Ok(ticks / TICKS_PER_SECOND)
}

fn ticks_of(pid: u32) -> Result<f64, Box<dyn Error>> {
    // Nanoseconds on the run queue are finer than the ticks of `stat`.
    let mut seconds = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let on_cpu = text.split_whitespace().next().unwrap_or_default();
        seconds += on_cpu.parse::<f64>()? / 1e9;
    }
    Ok(seconds * TICKS_PER_SECOND)
}

fn start_nginx(
    name: &'static str,
    port: u16,
    directory: &Path,
    conf: &str,
    core: &str,
) -> Result<Running, Box<dyn Error>> {
    let prefix = directory.join(name);
    fs::create_dir_all(prefix.join("logs"))?;
    let path = prefix.join("nginx.conf");
    fs::write(&path, conf)?;
    let child = Command::new("taskset")
        .args(["-c", core, "nginx", "-p"])
        .arg(&prefix)
        .arg("-c")
        .arg(&path)
        .stderr(Stdio::null())
        .spawn()?;
    wait_for(Running { name, port, child })
}

fn start_stampgate(directory: &Path) -> Result<Running, Box<dyn Error>> {
    let prefix: PathBuf = directory.join("stampgate");
    fs::create_dir_all(&prefix)?;
    fs::write(prefix.join("gateway.toml"), gateway_toml())?;
    fs::write(prefix.join("routing.toml"), routing_toml())?;
    let child = Command::new("taskset")
        .args(["-c", "1"])
        .arg(PathBuf::from(
            std::env::var("SG")
                .unwrap_or_else(|_| root().join("target/release/stampgate").display().to_string()),
        ))
        .args(["run", "-c"])
        .arg(prefix.join("gateway.toml"))
        .stderr(fs::File::create(prefix.join("stderr.log"))?)
        .spawn()?;
    wait_for(Running { name: "stampgate", port: STAMPGATE_PORT, child })
}

fn wait_for(running: Running) -> Result<Running, Box<dyn Error>> {
    for _ in 0..100 {
        if std::net::TcpStream::connect(("127.0.0.1", running.port)).is_ok() {
            return Ok(running);
        }
        pause();
    }
    Err(format!("{} does not listen on port {}", running.name, running.port).into())
}

#[expect(clippy::disallowed_methods, reason = "this program has no runtime to block")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

const HOSTS_LUA: &str = r#"
local number = 0
request = function()
  number = number % 4 + 1
  return wrk.format("GET", nil, { ["Host"] = "t" .. number .. ".app.example.com",
    ["User-Agent"] = "wrk", ["Accept"] = "*/*" })
end
"#;

fn origin_conf() -> String {
    let body = "x".repeat(1024);
    let mut servers = String::new();
    for stamp in 1..=STAMPS {
        let port = ORIGIN_PORT + stamp;
        servers += &format!(
            "server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"{body}\"; }} }}\n"
        );
    }
    format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log logs/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 100000000;\n\
         server {{ listen 127.0.0.1:{ORIGIN_PORT}; }}\n{servers} }}\n"
    )
}

/// The same look-up and the same headers to the stamp as stampgate's.
fn proxy_conf() -> String {
    let mut upstreams = String::new();
    let mut map = String::new();
    for stamp in 1..=STAMPS {
        let port = ORIGIN_PORT + stamp;
        upstreams += &format!(
            "upstream s{stamp} {{ server 127.0.0.1:{port}; keepalive 64; \
             keepalive_requests 100000000; }}\n"
        );
        map += &format!("t{stamp}.app.example.com s{stamp};\n");
    }
    format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log logs/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 100000000;\n\
         map $host $stamp {{ default \"\"; {map} }}\n\
         map $host $tenant {{ default \"\"; ~^(?<name>[a-z0-9]+)\\.app\\.example\\.com$ $name; }}\n\
         {upstreams}\n\
         server {{ listen 127.0.0.1:{NGINX_PORT}; location / {{\n\
         if ($stamp = \"\") {{ return 404; }}\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Host $host;\n\
         proxy_set_header X-Stamp-Id $stamp; proxy_set_header X-Stamp-Tenant $tenant;\n\
         proxy_set_header X-Request-Id $request_id;\n\
         proxy_set_header Forwarded \"for=$remote_addr;host=\\\"$host\\\";proto=http\";\n\
         proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Proto http;\n\
         proxy_set_header Via \"1.1 nginx\";\n\
         proxy_set_header traceparent \"00-$request_id-0123456789abcdef-00\";\n\
         proxy_pass http://$stamp; }} }} }}\n"
    )
}

fn gateway_toml() -> String {
    format!(
        "version = 1\n[node]\nid = \"bench\"\n[runtime]\nworkers = 1\n\
         [[listener]]\nname = \"public\"\nbind = \"127.0.0.1:{STAMPGATE_PORT}\"\n\
         [admin]\nbind = \"127.0.0.1:{ADMIN_PORT}\"\n[access_log]\nenabled = false\n"
    )
}

fn routing_toml() -> String {
    let mut text =
        String::from("version = 1\n[identity.host]\npatterns = [\"{tenant}.app.example.com\"]\n");
    let mut tenants = String::from("[tenants]\n");
    for stamp in 1..=STAMPS {
        let port = ORIGIN_PORT + stamp;
        text += &format!(
            "[[stamp]]\nid = \"s{stamp}\"\nendpoints = [{{ url = \"http://127.0.0.1:{port}\" }}]\n"
        );
        tenants += &format!("t{stamp} = \"s{stamp}\"\n");
    }
    text + &tenants
}
