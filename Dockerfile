# The image of a Hashwarden service. Nothing but the wheel, its dependencies and the driver for
# PostgreSQL is in it.
#
#   docker build --tag hashwarden .
#   docker run --init --network host --volume hashwarden:/data hashwarden
#
# See docs/deploy/README.md for why it shares the host's network.

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY hashlists hashlists
COPY matcher matcher
# Bytecode is compiled here, so that the running service never writes beside its code. The tests
# that dependencies bring along are an eighth of the whole.
RUN python -m venv /opt/hashwarden \
    && /opt/hashwarden/bin/pip install --no-cache-dir --compile '.[parquet,postgresql,tracing]' \
    && /opt/hashwarden/bin/pip uninstall --yes pip \
    && find /opt/hashwarden -type d -name tests -prune -exec rm -rf {} +

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Hashwarden" \
      org.opencontainers.image.licenses="Apache-2.0"
# The filter of the decoders' system calls; without it `hashwarden doctor` says that they lack it.
# Not pinned: a base image of later holds a later version only, and security fixes are wanted.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libseccomp2 \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 hashwarden \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin hashwarden \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data /keys /shared /store
COPY --from=build /opt/hashwarden /opt/hashwarden
ENV PATH=/opt/hashwarden/bin:$PATH \
    HASHWARDEN_DATA=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["hashwarden", "doctor", "--server", "127.0.0.1:50051"]
ENTRYPOINT ["hashwarden"]
CMD ["serve"]
