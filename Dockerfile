# docker build -t persisting .
# docker run --rm -p 127.0.0.1:8080:8080 -v persisting:/data persisting
#
# The first build compiles Lance: about 25 minutes on 2 cores. The cache mounts keep what is built for the next one.

FROM rust:1.95-bookworm AS build
WORKDIR /src
ENV CARGO_TARGET_DIR=/target \
    PROTOC=/opt/protoc/bin/protoc \
    PROTOC_INCLUDE=/opt/protoc/include

# Building Lance needs protoc; this is the one that `make` uses too.
COPY tools tools
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    cargo run --quiet --locked --manifest-path tools/protoc/Cargo.toml -- /opt/protoc

COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    cargo build --release --locked --bin persisting \
    && install -D /target/release/persisting /out/persisting

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --user-group --uid 10001 --no-create-home --shell /usr/sbin/nologin persisting \
    && install --directory --owner=persisting --group=persisting /data
COPY --from=build /out/persisting /usr/local/bin/persisting

# All interfaces of the container: whoever publishes the port decides who can connect. There is no authentication.
ENV PERSISTING_LISTEN=0.0.0.0:8080 \
    PERSISTING_DATA_DIR=/data
USER persisting
VOLUME /data
EXPOSE 8080

# A start reads the log first, and is not ready before.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "http://127.0.0.1:8080/readyz"]

ENTRYPOINT ["persisting"]
CMD ["serve"]
