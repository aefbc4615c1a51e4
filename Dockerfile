# The server: bestroute serve. `docker build -t bestroute .`, or `docker compose up` with PostgreSQL.
FROM python:3.12-slim AS build
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --constraint constraints.txt --wheel-dir /wheels ".[server,postgres,encoder]"

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/bestroute bestroute
COPY --from=build /wheels /wheels
# The wheels are of one version each, by constraints.txt.
# hadolint ignore=DL3013
RUN python -m pip install --no-cache-dir --no-index --find-links /wheels "bestroute[server,postgres,encoder]" \
    && rm -rf /wheels
USER 10001
WORKDIR /var/lib/bestroute
ENV PYTHONUNBUFFERED=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["bestroute", "serve"]
CMD ["--config", "/etc/bestroute/router.yaml", "--host", "0.0.0.0", "--port", "8000"]
