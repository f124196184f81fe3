# Built in two stages; the last one holds the program, its configuration and nothing else.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package stampgate \
 && install -D --mode=0755 target/release/stampgate /out/usr/local/bin/stampgate \
 && install -D --mode=0644 config/gateway.toml /out/etc/stampgate/gateway.toml \
 && install -D --mode=0644 config/routing.toml /out/etc/stampgate/routing.toml \
 && install -d --mode=0700 /out/var/lib/stampgate

# glibc and certificates, no shell; runs as uid 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chown=nonroot:nonroot /out/ /
ENV STAMPGATE__STATE__DIRECTORY=/var/lib/stampgate
USER nonroot
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s CMD ["/usr/local/bin/stampgate", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/stampgate"]
CMD ["run", "-c", "/etc/stampgate/gateway.toml"]
