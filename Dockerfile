# The gateway in one image: `docker run -p 8080:8080 -v specgate:/var/lib/specgate IMAGE`.
FROM oven/bun:1.4.5-debian AS build
WORKDIR /specgate
COPY package.json bun.lock bunfig.toml ./
RUN bun install --frozen-lockfile
COPY . .
RUN bun scripts/build.ts

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 61000 --home-dir /var/lib/specgate --create-home --shell /usr/sbin/nologin specgate
COPY --from=build /specgate/dist/specgate /usr/local/bin/specgate
USER specgate
WORKDIR /var/lib/specgate
# The books are kept here and must outlive the container.
VOLUME /var/lib/specgate
ENV SPECGATE_DATA_DIR=/var/lib/specgate/data SPECGATE_HOST=0.0.0.0
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${SPECGATE_PORT:-8080} && printf 'GET /healthz HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["/usr/local/bin/specgate"]
