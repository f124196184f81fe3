//! A round trip through the gateway beside one straight to the stamp, over loopback.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use criterion::{Criterion, criterion_group, criterion_main};

const ANSWER_BODY: usize = 1024;

/// A stamp that answers every request head with the same 1 KiB.
fn stamp() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || answer(client));
        }
    });
    address
}

fn answer(mut client: TcpStream) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ANSWER_BODY}\r\n\r\n");
    let answer = head + &"x".repeat(ANSWER_BODY);
    client.set_nodelay(true).expect("a socket");
    let mut buffer = [0; 4096];
    let mut seen = Vec::new();
    while let Ok(read) = client.read(&mut buffer) {
        if read == 0 {
            return;
        }
        seen.extend_from_slice(&buffer[..read]);
        while let Some(end) = seen.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            seen.drain(..end + 4);
            if client.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// One request over a kept connection, and its whole answer.
fn round_trip(connection: &mut TcpStream, buffer: &mut [u8]) {
    let request = b"GET /hello HTTP/1.1\r\nHost: acme.app.example.com\r\n\r\n";
    connection.write_all(request).expect("a request");
    let mut read = 0;
    loop {
        read += connection.read(&mut buffer[read..]).expect("an answer");
        let head = buffer[..read].windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if head.is_some_and(|end| read >= end + 4 + ANSWER_BODY) {
            return;
        }
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).expect("a connection");
    connection.set_nodelay(true).expect("a socket");
    connection
}

fn round_trips(bench: &mut Criterion) {
    let stamp = stamp();
    let directory = tempfile::tempdir().expect("a directory");
    let gateway_toml = "version = 1\n[runtime]\nworkers = 1\n[[listener]]\nname = \"public\"\n\
        bind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[log]\nlevel = \"error\"\n\
        [access_log]\nenabled = false\n";
    let routing_toml = format!(
        "version = 1\n[identity.host]\npatterns = [\"{{tenant}}.app.example.com\"]\n\
         [[stamp]]\nid = \"eu-1\"\nendpoints = [{{ url = \"http://{stamp}\" }}]\n\
         [tenants]\nacme = \"eu-1\"\n"
    );
    let config = directory.path().join("gateway.toml");
    std::fs::write(&config, gateway_toml).expect("a file");
    std::fs::write(directory.path().join("routing.toml"), routing_toml).expect("a file");
    let gateway = stampgate::gateway::start(&config).expect("a gateway");
    let public = gateway.addresses().listeners["public"][0];

    let mut buffer = vec![0; 8192];
    let mut group = bench.benchmark_group("round trip");
    let mut straight = connect(stamp);
    group.bench_function("straight to the stamp", |bench| {
        bench.iter(|| round_trip(&mut straight, &mut buffer));
    });
    let mut through = connect(public);
    group.bench_function("through the gateway", |bench| {
        bench.iter(|| round_trip(&mut through, &mut buffer));
    });
    group.finish();
}

criterion_group!(benches, round_trips);
criterion_main!(benches);
