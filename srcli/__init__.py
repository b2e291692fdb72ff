"""`sr`: enlarge images with pretrained networks, and tell the truth about how well it does."""

__version__ = "0.1.0"
