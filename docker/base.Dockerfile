# What changes seldom: the CUDA toolkit, Node and the tools that build the addon.
#
#   docker build -f docker/base.Dockerfile -t quire-base docker
ARG CUDA_VERSION=13.0.1
ARG NODE_VERSION=22
FROM node:${NODE_VERSION}-bookworm-slim AS node

FROM nvidia/cuda:${CUDA_VERSION}-devel-ubuntu24.04
RUN apt-get update \
  && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates cmake g++ make tini \
  && rm -rf /var/lib/apt/lists/*
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
  && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx \
  && node --version && npm --version && nvcc --version && cmake --version
