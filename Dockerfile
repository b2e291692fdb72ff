# sr on the CPU: docker run --rm -v "$PWD:/work" sr upscale photo.jpg
# tools/build_images.sh builds it. EXTRAS=[torch] adds PyTorch for networks that are downloaded.
FROM python:3.12-slim AS wheel
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir hatchling
RUN python -m hatchling build -t wheel -d /wheels

FROM python:3.12-slim
ARG EXTRAS=""
COPY --from=wheel /wheels /wheels
# Images run on machines without a GPU: PyTorch's own index has a build for the CPU, which is much smaller.
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu "$(echo /wheels/*.whl)$EXTRAS"
RUN useradd --create-home --uid 1000 sr && mkdir /work && chown sr /work
USER sr
WORKDIR /work
ENTRYPOINT ["sr"]
CMD ["--help"]
