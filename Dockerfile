# The daemon on Debian 12, with the same defaults as everywhere: HTTP on 8080, RTMP on 1935, SRT on 8890 (UDP), data in ./data, which is
# /srv/millstream/data here. The image holds FFmpeg built with x264, so it is GPL 3 as a whole (see LICENSE).
#
#   docker build -t millstream .
#   docker run -p 8080:8080 -p 1935:1935 -p 8890:8890/udp -v millstream:/srv/millstream/data millstream

FROM node:20-bookworm-slim AS web
WORKDIR /build/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM rust:1.95-bookworm AS build
# Versions are not pinned: Debian's security updates shall come in with each build.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        clang libclang-dev pkg-config libavcodec-dev libavdevice-dev libavfilter-dev libavformat-dev libavutil-dev \
        libswresample-dev libswscale-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . ./
COPY --from=web /build/web/dist web/dist
RUN cargo build --release --locked --bin millstream

FROM debian:bookworm-slim AS run
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates libavcodec59 libavdevice59 libavfilter8 libavformat59 libavutil57 libswresample4 libswscale6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /srv/millstream --create-home millstream \
    && install -d -o millstream -g millstream /srv/millstream/data
COPY --from=build /build/target/release/millstream /usr/local/bin/millstream
COPY LICENSE LICENSE-MIT LICENSE-APACHE /usr/share/doc/millstream/
# By number, so that a cluster can see that it is not root.
USER 10001
WORKDIR /srv/millstream
VOLUME /srv/millstream/data
EXPOSE 8080 8443 1935 1936 8890/udp
# bash speaks HTTP well enough for this, and spares the image a client.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["millstream"]
CMD ["serve"]
