#!/usr/bin/env bash
# Build the three images from one commit, so that coordinator and workers run the same package; --push sends them to
# Artifact Registry. Usage: docker/build.sh REGION-docker.pkg.dev/PROJECT/REPOSITORY [--push]
set -euo pipefail
cd "$(dirname "$0")/.."

repository=${1:?"where to: REGION-docker.pkg.dev/PROJECT/REPOSITORY"}
push=${2-}
tag=$(git rev-parse --short=12 HEAD)
if [ -n "$(git status --porcelain -- pyproject.toml constraints.txt src resources workflow config profiles docker)" ]; then
    tag="$tag-edited"
fi

for name in orchestrator inference api; do
    image="$repository/haystack-$name:$tag"
    docker build --platform linux/amd64 --file docker/Dockerfile --target "$name" --tag "$image" .
    if [ "$push" = "--push" ]; then
        docker push "$image"
    fi
    echo "$name: $image"
done
