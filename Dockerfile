# The image of lakegate: the stripped binary on a small base, run by a user without rights.
#   docker build -t lakegate .
FROM rust:1.94-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/lakegate lakegate
COPY --from=build /src/target/release/lakegate /usr/local/bin/lakegate
USER lakegate
# The state folder of a process lies here; mount a volume of its own for each.
WORKDIR /var/lib/lakegate
# /metrics, /livez, /readyz, /startupz
EXPOSE 9464
ENTRYPOINT ["/usr/local/bin/lakegate"]
CMD ["--help"]
