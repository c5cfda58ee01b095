# syntax=docker/dockerfile:1
# One recipe for every image of the system:
#
#	docker build --build-arg SERVICE=gateway -t ghcr.io/ma-messagerie/gateway:dev .
#
# SERVICE is gateway, messaging, taxonomy, notifier, web, messagerie (the cli) or dev
# (stand-ins for the providers: never in production).
#
# Two builds of one commit give one digest when time stamps are taken from it:
#
#	SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) docker buildx build \
#	  --output type=image,rewrite-timestamp=true …        (podman build --timestamp …)
#
# Base images are pinned by tag. A release pins them by digest, or the digest lasts
# only until the tag moves.
ARG GO_IMAGE=docker.io/library/golang:1.26.8-bookworm
ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${GO_IMAGE} AS build
ARG SERVICE
WORKDIR /src
ENV CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly GOTOOLCHAIN=local

# The dependencies, in a layer of their own: they change less often than the code.
# deploy/test/compose compares this list with go.work; no image holds examples.
COPY chassis/go.mod chassis/go.sum chassis/
COPY cli/go.mod cli/go.sum cli/
COPY dev/go.mod dev/go.sum dev/
COPY proto/go.mod proto/go.sum proto/
COPY services/gateway/go.mod services/gateway/go.sum services/gateway/
COPY services/messaging/go.mod services/messaging/go.sum services/messaging/
COPY services/notifier/go.mod services/notifier/go.sum services/notifier/
COPY services/taxonomy/go.mod services/taxonomy/go.sum services/taxonomy/
COPY web/go.mod web/go.sum web/
# Where each program is: its module's folder and its package in there.
RUN case "$SERVICE" in \
      gateway|messaging|notifier|taxonomy) echo "services/$SERVICE ./cmd/$SERVICE" ;; \
      web) echo "web ./cmd/web" ;; \
      messagerie) echo "cli ./cmd/messagerie" ;; \
      dev) echo "dev ." ;; \
      *) echo "--build-arg SERVICE=$SERVICE is no program of this repository" >&2; exit 1 ;; \
    esac > /program
RUN --mount=type=cache,target=/go/pkg/mod \
    read -r module program < /program && cd "$module" && go mod download

COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG SOURCE_DATE_EPOCH=0
# A new volume takes its owner from the folder that it covers: dev, which fills the
# volumes of docker-compose.yml, has those folders; in the others /state is empty.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    read -r module program < /program && mkdir -p /out/state && cd "$module" && \
    GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -o /out/app \
      -ldflags "-s -w -buildid= -X github.com/ma-messagerie/messagerie/chassis.version=$VERSION" "$program" && \
    if [ "$SERVICE" = dev ]; then mkdir -p /out/state/nats /out/state/providers && \
      for of in postgres taxonomy messaging notifier web; do mkdir -p "/out/state/secrets/$of"; done; fi && \
    find /out -exec touch -d "@$SOURCE_DATE_EPOCH" {} +

FROM ${BASE_IMAGE}
ARG SERVICE
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="$SERVICE" \
      org.opencontainers.image.source="https://github.com/ma-messagerie/messagerie" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/app /app
COPY --from=build --chown=65532:65532 /out/state /state
USER 65532:65532
ENTRYPOINT ["/app"]
