# koco and Ray in one image: for the nodes of a Ray cluster, and for pipelines that call `koco`.
# docs/kubernetes.md uses it. Build it in a clone: `docker build -t registry.example.com/koco:0.1.0 .`
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
# Every node must have exactly this Ray; docs/kubernetes names it, too.
ARG RAY=2.60.0
WORKDIR /src
# First Ray, which is large and seldom changes.
RUN python -m venv /opt/koco && \
    /opt/koco/bin/pip install --no-cache-dir "ray[default,serve]==${RAY}"
COPY pyproject.toml README.md ./
COPY templates templates
COPY koco koco
RUN /opt/koco/bin/pip install --no-cache-dir ".[ray,otel,postgresql,s3]" "ray==${RAY}" && \
    /opt/koco/bin/pip check

FROM python:${PYTHON}-slim-bookworm
# KubeRay's probes of older Rays call wget; flows' requirements may come from git.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends git wget && \
    rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 koco && \
    install --directory --owner koco --group koco /var/lib/koco
COPY --from=build /opt/koco /opt/koco
ENV PATH=/opt/koco/bin:$PATH \
    PYTHONUNBUFFERED=1
# By its number, so that Kubernetes knows that it is not root.
USER 1000:1000
WORKDIR /home/koco
CMD ["koco", "--help"]
