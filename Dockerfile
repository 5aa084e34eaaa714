# syntax=docker/dockerfile:1
# The image of the operator: one static binary and nothing else.
#
#   docker build -t millrace:0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/millrace:0.1.0 --push .
#
# Each platform is built by its own compiler (under buildx: natively or in emulation), so nothing is cross-compiled.
# Alpine's target is musl, which links statically.
FROM rust:1.95-alpine AS build
ARG TARGETARCH
WORKDIR /build
# For the C and assembler parts of ring and AWS-LC.
RUN apk add --no-cache musl-dev
COPY Cargo.toml Cargo.lock ./
COPY src src
# Without rust-toolchain.toml: the compiler is the image's, and nothing is downloaded beside it.
RUN --mount=type=cache,id=millrace-registry-${TARGETARCH},target=/usr/local/cargo/registry \
    --mount=type=cache,id=millrace-target-${TARGETARCH},target=/build/target \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin millrace \
    && cp target/release/millrace /millrace

FROM scratch
LABEL org.opencontainers.image.title="millrace" \
      org.opencontainers.image.description="A Kubernetes operator that defines, launches and monitors short-lived tasks" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /millrace /millrace
# A number, so that runAsNonRoot can be checked without a passwd file.
USER 65532:65532
ENTRYPOINT ["/millrace"]
