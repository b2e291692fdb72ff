def upscale() -> None:
    pass
