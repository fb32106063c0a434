# syntax=docker/dockerfile:1
# lifeboat with the Postgres 15 client it dumps with and the server that restore tests start in private.
# For another server major, set DEBIAN_POSTGRES to a major that the distribution of the last stage carries.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    mkdir -p tests && touch tests/all.rs \
    && cargo build --locked --release --bin lifeboat \
    && install -m 0755 target/release/lifeboat /usr/local/bin/lifeboat

FROM debian:bookworm-slim
ARG DEBIAN_POSTGRES=15
# No cluster of its own: restore tests make theirs below the scratch folder and remove them.
RUN mkdir -p /etc/postgresql-common/createcluster.d \
    && echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.d/none.conf \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        age ca-certificates git git-lfs openssh-client tini zstd \
        "postgresql-${DEBIAN_POSTGRES}" "postgresql-client-${DEBIAN_POSTGRES}" \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /var/lib/lifeboat --shell /usr/sbin/nologin lifeboat \
    && install -d -o lifeboat -g lifeboat /backup /reports
COPY --from=build /usr/local/bin/lifeboat /usr/local/bin/lifeboat
COPY deploy/loop.sh deploy/healthy.sh /usr/local/lib/lifeboat/
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/lifeboat/
USER lifeboat
WORKDIR /var/lib/lifeboat
VOLUME ["/var/lib/lifeboat", "/backup", "/reports"]
HEALTHCHECK --interval=1m --timeout=10s --start-period=5m --retries=3 CMD ["/usr/local/lib/lifeboat/healthy.sh"]
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/lifeboat"]
CMD ["--help"]
