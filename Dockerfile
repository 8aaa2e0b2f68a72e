# The image of lakegate: the stripped binary on a base without a shell, run by a user without rights.
#   docker build -t lakegate .
FROM rust:1.94-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked && mkdir -p /out/var/lib/lakegate && cp target/release/lakegate /out/

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/lakegate /usr/local/bin/lakegate
# The state folder of a process; mount a volume of its own for each.
COPY --from=build --chown=nonroot:nonroot /out/var/lib/lakegate /var/lib/lakegate
USER nonroot
WORKDIR /var/lib/lakegate
# /metrics, /livez, /readyz, /startupz
EXPOSE 9464
ENTRYPOINT ["/usr/local/bin/lakegate"]
CMD ["--help"]
