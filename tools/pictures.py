"""Make the pictures of docs/compare.md: screenshots of pages made by `sr compare`."""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from srcli.cli.app import run
from tools.browser import Page, open_page

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
METHODS = ["-m", "nearest", "-m", "bicubic", "-m", "fsrcnn", "-m", "slimres"]
DESKTOP, PHONE = (1200, 800), (390, 780)


def make_pages(folder: Path) -> None:
    """Make the pages from the bundled photographs."""
    common = ["compare", str(ROOT / "srcli" / "samples"), "--hr", "-x4", *METHODS]
    for name, more in (("page", []), ("scores", ["--rate"]), ("pairs", ["--rate", "--pairs"])):
        if run([*common, *more, "-o", str(folder / f"{name}.html")]):
            sys.exit(f"sr {' '.join(common)} failed")


def save_screenshot(page: Page, name: str) -> None:
    """Save the window as docs/NAME.webp."""
    taken = io.BytesIO(page.screenshot())
    Image.open(taken).convert("RGB").save(DOCS / f"{name}.webp", quality=82, method=6)


def main() -> None:
    """Make the pages and take screenshots of them."""
    with tempfile.TemporaryDirectory() as name, open_page() as page:
        folder = Path(name)
        make_pages(folder)
        page.look(*DESKTOP)
        page.open(folder / "page.html")
        page.key("k")
        page.key("p")
        page.mouse("Moved", *(at - 60 for at in page.middle("#canvas")))
        save_screenshot(page, "compare-slider")
        page.look(*DESKTOP, dark=True)
        page.key("a")
        save_screenshot(page, "compare-all")
        page.run("document.querySelector('.scene:not([hidden]) .figures').scrollIntoView()")
        save_screenshot(page, "compare-figures")
        page.run("document.querySelector('.scene:not([hidden]) .charts').scrollIntoView()")
        save_screenshot(page, "compare-curves")
        page.look(*PHONE, density=2, phone=True)
        page.run("scrollTo(0, 0)")
        page.key("e")
        save_screenshot(page, "compare-phone")
        page.look(*DESKTOP)
        page.open(folder / "pairs.html")
        page.click("#start")
        save_screenshot(page, "compare-rate")


if __name__ == "__main__":
    main()
