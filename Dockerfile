# Three stages: the first fetches the dashboard's charts library, the second installs what
# requirements/runtime.txt locks, by hash, and the wheel of this tree; the third carries only the
# result. No compiler, no npm, no pip cache and no root in what runs.
FROM node:22-slim AS charts
WORKDIR /charts
COPY requirements/frontend/package.json requirements/frontend/package-lock.json ./
RUN npm ci --ignore-scripts --omit=dev

FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /opt/rust-mirror
COPY requirements/ requirements/
RUN /opt/rust-mirror/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
# The build backend comes from a lock file too, into an environment of its own.
RUN python -m venv /build/tools \
 && /build/tools/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE-MIT LICENSE-APACHE ./
COPY mirror/ mirror/
COPY --from=charts /charts/node_modules/uplot/dist/uPlot.iife.min.js \
  /charts/node_modules/uplot/dist/uPlot.min.css mirror/control/pages/vendor/
COPY --from=charts /charts/node_modules/uplot/LICENSE mirror/control/pages/vendor/uPlot.LICENSE.txt
RUN /build/tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
 && /opt/rust-mirror/bin/pip install --no-cache-dir --no-deps wheels/*.whl \
 && /opt/rust-mirror/bin/pip uninstall --yes pip

FROM python:3.11-slim
LABEL org.opencontainers.image.title="rust-edge-mirror" \
      org.opencontainers.image.description="A caching, verifying edge for Rust releases and crates" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin rust-mirror \
 && install -d -o rust-mirror -g rust-mirror -m 0750 /var/cache/rust-mirror /var/lib/rust-mirror
COPY --from=build /opt/rust-mirror /opt/rust-mirror
# The container's own file: only what differs from the defaults. Mount
# another over it; nothing here is set through the environment, which would win over that file.
COPY deploy/container.toml /etc/rust-mirror/mirror.toml
USER rust-mirror
VOLUME ["/var/cache/rust-mirror", "/var/lib/rust-mirror"]
EXPOSE 8080
STOPSIGNAL SIGTERM
# Over the control socket: true whatever address the mounted file listens on.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s \
  CMD ["/opt/rust-mirror/bin/rust-mirror", "status", "--quiet", "--config", "/etc/rust-mirror/mirror.toml"]
ENTRYPOINT ["/opt/rust-mirror/bin/rust-mirror"]
CMD ["serve", "--config", "/etc/rust-mirror/mirror.toml"]
