//! Each proxy's configuration: what its own manual offers for a home with a declared secondary and
//! POSTs that must never be processed twice. The times are the same for all three: connect 1 s,
//! response head 1 s; probes, where there are any, every 1 s, at most 1 s long, 2 to fall and 2 to
//! rise; 3 failed requests take the home out (`HAProxy`: in a row; nginx: within 2 s; stampgate: in a
//! row, or of each thousand within 2 s), and 2 s later it is tried again. stampgate's `hold`, which has
//! no like in the others, is 1 s: a home that only seems to be well again is not returned to. One
//! worker or thread each, on one core.

use std::path::Path;

use super::proxy::{ADMIN_PORT, PORT};
use super::stamp::{HOME, SECONDARY};

/// What the operator wants of the home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    Serves,
    Down,
}

/// nginx: the secondary is a `backup`. `error timeout` (the default) repeats what is idempotent, and a
/// POST only where it was not sent; `non_idempotent` would send POSTs twice. Active checks are not in
/// this edition. A server is taken out by `down` and a reload.
pub(super) fn nginx(home: Home, version: u32) -> String {
    let down = match home {
        Home::Serves => "",
        Home::Down => " down",
    };
    let (a, b) = (HOME.port, SECONDARY.port);
    format!(
        "daemon off; worker_processes 1; pid nginx.pid; error_log logs/error.log;\n\
         worker_shutdown_timeout 30s;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 100000000;\n\
         upstream home {{\n\
         server 127.0.0.1:{a} max_fails=3 fail_timeout=2s{down};\n\
         server 127.0.0.1:{b} backup max_fails=0;\n\
         keepalive 256; keepalive_requests 100000000; }}\n\
         map $host $stamp {{ default \"\"; t1.app.example.com home; v{version}.example.com home; }}\n\
         server {{ listen 127.0.0.1:{PORT}; location / {{\n\
         if ($stamp = \"\") {{ return 404; }}\n\
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
         proxy_connect_timeout 1s; proxy_read_timeout 1s; proxy_send_timeout 1s;\n\
         proxy_next_upstream error timeout; proxy_next_upstream_tries 2;\n\
         proxy_pass http://$stamp; }} }} }}\n"
    )
}

/// `HAProxy`: the secondary is a `backup`, used once the home is marked down. Chosen, each for a reason:
/// - `retry-on` with `disable-l7-retry` for POST: the manual's way to repeat after sending, but not
///   what must not be processed twice. Three retries, since `redispatch` goes to the home again until
///   it is marked down.
/// - `observe layer7 error-limit 3 on-error mark-down`: requests find the fault before checks do;
///   `fastinter` and `downinter` hurry.
/// - no `on-marked-down shutdown-sessions`: it ends the requests at a frozen home, retries included.
/// - `idle-close-on-response`: after a reload, a connection at rest is not closed under a client that is
///   just sending, but after its next answer.
/// - `expose-fd listeners` and master-worker: sockets pass from process to process in a reload.
pub(super) fn haproxy(directory: &Path, version: u32) -> String {
    let (a, b) = (HOME.port, SECONDARY.port);
    let socket = directory.join("haproxy.sock");
    let socket = socket.display();
    format!(
        "global\n\
         \x20 stats socket {socket} mode 600 level admin expose-fd listeners\n\
         \x20 nbthread 1\n\
         \x20 maxconn 4096\n\
         \x20 hard-stop-after 30s\n\
         defaults\n\
         \x20 mode http\n\
         \x20 timeout client 60s\n\
         \x20 timeout http-request 10s\n\
         \x20 timeout http-keep-alive 60s\n\
         \x20 timeout connect 1s\n\
         \x20 timeout server 1s\n\
         \x20 timeout check 1s\n\
         \x20 timeout queue 1s\n\
         \x20 retries 3\n\
         \x20 option redispatch 1\n\
         \x20 option idle-close-on-response\n\
         frontend public\n\
         \x20 bind 127.0.0.1:{PORT}\n\
         \x20 acl known hdr(host) -i t1.app.example.com v{version}.example.com\n\
         \x20 use_backend home if known\n\
         backend home\n\
         \x20 retry-on conn-failure empty-response response-timeout\n\
         \x20 http-request disable-l7-retry if METH_POST\n\
         \x20 option httpchk GET /healthz\n\
         \x20 default-server check inter 1s fastinter 250ms downinter 1s fall 2 rise 2 \
         observe layer7 error-limit 3 on-error mark-down pool-max-conn 256\n\
         \x20 server a 127.0.0.1:{a}\n\
         \x20 server b 127.0.0.1:{b} backup\n"
    )
}

/// stampgate: the process.
pub(super) fn gateway() -> String {
    format!(
        "version = 1\n[node]\nid = \"bench\"\n[runtime]\nworkers = 1\n\
         [[listener]]\nname = \"public\"\nbind = \"127.0.0.1:{PORT}\"\n\
         [timeouts]\nconnect = \"1s\"\nresponse_headers = \"1s\"\n\
         [admin]\nbind = \"127.0.0.1:{ADMIN_PORT}\"\n[access_log]\nenabled = false\n"
    )
}

/// stampgate: the table.
pub(super) fn routing(version: u32) -> String {
    let (a, b) = (HOME.port, SECONDARY.port);
    format!(
        "version = 1\n[identity.host]\npatterns = [\"{{tenant}}.app.example.com\"]\n\
         [defaults.stamp.health]\npath = \"/healthz\"\n\
         interval = \"1s\"\ntimeout = \"1s\"\nfall = 2\nrise = 2\n\
         passive = {{ consecutive_failures = 3, failure_ratio = 0.003, \
         min_requests = 1000, window = \"2s\", open_for = \"2s\", open_for_max = \"2s\" }}\n\
         [defaults.stamp.failback]\nhold = \"1s\"\nramp = \"0s\"\n\
         [[stamp]]\nid = \"a\"\nendpoints = [{{ url = \"http://127.0.0.1:{a}\" }}]\n\
         failover = [\"b\"]\n\
         [[stamp]]\nid = \"b\"\nendpoints = [{{ url = \"http://127.0.0.1:{b}\" }}]\n\
         [tenants]\nt1 = \"a\"\nv{version} = \"b\"\n"
    )
}
