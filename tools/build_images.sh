#!/usr/bin/env bash
# Build the images sr and sr:cuda, or those that are named, and enlarge a photograph with each.
set -euo pipefail
cd "$(dirname "$0")/.."
engine=$(command -v docker || command -v podman) || { echo "needs docker or podman" >&2; exit 1; }
for name in "${@:-cpu cuda}"; do
  for kind in $name; do
    case $kind in
      cpu) file=Dockerfile tag=sr:latest ;;
      cuda) file=Dockerfile.cuda tag=sr:cuda ;;
      *) echo "usage: tools/build_images.sh [cpu] [cuda]" >&2; exit 2 ;;
    esac
    "$engine" build -f "$file" -t "$tag" .
    folder=$(mktemp -d)
    chmod 777 "$folder"
    cp srcli/samples/coffee.png "$folder/photo.png"
    "$engine" run --rm -v "$folder:/work" "$tag" upscale photo.png -x2 --device cpu
    test -s "$folder/photo_x2.png"
    rm -r "$folder"
  done
done
