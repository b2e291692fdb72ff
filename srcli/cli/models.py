def models() -> None:
    pass
