def compare() -> None:
    pass
