//! stampgate beside nginx, in one run: the same routing work, one worker each, pinned to one core,
//! short rounds, interleaved and in turning order. CPU is what the scheduler gave to the proxy's
//! threads by /proc; only the ratios mean anything on a shared machine, and of them the median over
//! the rounds: each compares two neighbours in time.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::run::{Done, print, root, say};

/// Rounds, unless told otherwise.
pub(crate) const ROUNDS: usize = 15;
const SECONDS_A_ROUND: u32 = 2;
const CONNECTIONS: u32 = 64;

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
    /// The share of it that was spent in the program itself, not in the kernel for it.
    user_us_per_request: f64,
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
        let mut turns: Vec<_> = proxies.iter().zip(&mut results).collect();
        if number % 2 == 0 {
            turns.reverse();
        }
        for (proxy, results) in turns {
            results.push(round(proxy, &script, SECONDS_A_ROUND)?);
        }
    }
    let names: Vec<&str> = proxies.iter().map(|proxy| proxy.name).collect();
    report(&names, &results);
    Ok(())
}

fn report(names: &[&str], results: &[Vec<Round>]) {
    let base = results.first().map_or(&[][..], Vec::as_slice);
    print(
        "| proxy | CPU us/request | of it user | ratio, median (least to most) | requests/s | p50 us | p99 us |",
    );
    print("|---|---|---|---|---|---|---|");
    for (name, rounds) in names.iter().zip(results) {
        let of = |of: fn(&Round) -> f64| median(rounds.iter().map(of).collect());
        let ratios = rounds.iter().zip(base);
        let ratios: Vec<f64> =
            ratios.map(|(one, base)| one.cpu_us_per_request / base.cpu_us_per_request).collect();
        let (least, most) =
            ratios.iter().fold((f64::MAX, f64::MIN), |(a, b), it| (a.min(*it), b.max(*it)));
        print(&format!(
            "| {name} | {:.2} | {:.2} | {:.3} ({least:.3} to {most:.3}) | {:.0} | {:.0} | {:.0} |",
            of(|round| round.cpu_us_per_request),
            of(|round| round.user_us_per_request),
            median(ratios),
            of(|round| round.requests_per_second),
            of(|round| round.p50_us),
            of(|round| round.p99_us),
        ));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn round(proxy: &Running, script: &Path, seconds: u32) -> Result<Round, Box<dyn Error>> {
    let before = cpu_of(proxy.child.id())?;
    let output = Command::new("taskset")
        .args(["-c", "0", "wrk", "-t1", "--latency"])
        .arg(format!("-c{CONNECTIONS}"))
        .arg(format!("-d{seconds}s"))
        .arg("-s")
        .arg(script)
        .arg(format!("http://127.0.0.1:{}/hello?a=b", proxy.port))
        .output()?;
    let after = cpu_of(proxy.child.id())?;
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
    let cpu_us_per_request = (after.seconds - before.seconds) * 1e6 / requests;
    let user_share = (after.user_ticks - before.user_ticks) / (after.ticks - before.ticks);
    Ok(Round {
        cpu_us_per_request,
        user_us_per_request: cpu_us_per_request * user_share,
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

/// What a process and its children used of the processors so far.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    /// By the scheduler's own count.
    seconds: f64,
    /// By the clock's ticks, which alone tell user from system.
    ticks: f64,
    user_ticks: f64,
}

fn cpu_of(pid: u32) -> Result<Cpu, Box<dyn Error>> {
    let mut cpu = Cpu::default();
    add_cpu(&mut cpu, pid)?;
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    for child in children.split_whitespace() {
        add_cpu(&mut cpu, child.parse()?)?;
    }
    Ok(cpu)
}

fn add_cpu(cpu: &mut Cpu, pid: u32) -> Done {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before the last bracket may hold anything; behind it, utime and stime are the
    // 12th and the 13th field (proc(5)).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|it| it.parse().ok()).collect();
    cpu.ticks += ticks.iter().sum::<f64>();
    cpu.user_ticks += ticks.first().copied().unwrap_or_default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let on_cpu = text.split_whitespace().next().unwrap_or_default();
        cpu.seconds += on_cpu.parse::<f64>()? / 1e9;
    }
    Ok(())
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
        .arg(root().join("target/release/stampgate"))
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
