"""Install the wheel into an empty environment, first without PyTorch, and use it as a new user would."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 150e6
# Everything of the core, tested with the installed package.
CORE_TESTS = (
    "alpha",
    "color",
    "compare",
    "config",
    "encoding",
    "listing",
    "options",
    "resize",
    "seams",
    "sizes",
    "tiles",
)
# Packages that a core install must not bring.
OPTIONAL = ("torch", "cv2", "scipy", "huggingface_hub", "matplotlib", "onnx")
RESULT = ROOT / "benchmarks" / "results" / "install.json"
PHOTO = ROOT / "srcli" / "samples" / "coffee.png"


def build_wheel(folder: Path) -> Path:
    """Build the wheel into an empty `folder` and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


class Environment:
    """A virtual environment, and an empty folder to work in."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=False)
        self.scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.work = folder / "work"
        self.work.mkdir()
        shutil.copy(PHOTO, self.work / "photo.png")
        # Without PYTHONPATH, which would find the checkout; nothing is downloaded or remembered.
        self.variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.variables |= {"HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(folder / "cache")}

    def install(self, *packages: str) -> None:
        """Install packages with the versions of constraints.txt."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.scripts / "python"), "install", "--quiet"]
        pins = ["--no-compile", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, *pins, *packages], check=True)

    def run(self, *words: object, code: int = 0, expected: str = "") -> None:
        """Run a command and exit with a message unless it ends with `code` and prints `expected`."""
        command = [str(word) for word in words]
        print("$", *command, flush=True)
        program = str(self.scripts / command[0])
        done = subprocess.run(
            [program, *command[1:]],
            cwd=self.work,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        output = done.stdout + done.stderr
        if done.returncode != code or expected not in output:
            sys.exit(f"exit code {done.returncode} instead of {code}, or without {expected!r}:\n{output}")

    def measure_size(self) -> int:
        """Return the bytes of all installed packages."""
        (packages,) = (self.scripts.parent / "lib").glob("python*/site-packages")
        return sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())


def check_core(environment: Environment) -> None:
    """Check what works without PyTorch, and what else says about it."""
    find = f"import importlib.util as u; assert not any(map(u.find_spec, {OPTIONAL}))"
    environment.run("python", "-c", find)
    environment.run("sr", "upscale", "photo.png", "-o", "large.png", expected="600x400 -> 2400x1600")
    environment.run(
        "sr", "upscale", "photo.png", "-x2.5", "-m", "photo-lite", "-o", "lite.jpg", expected="1500x1000"
    )
    environment.run("sr", "upscale", "photo.png", "--dry-run", expected="about")
    environment.run("sr", "info", "photo.png", expected="0.24 megapixels")
    environment.run("sr", "compare", "photo.png", "-o", "page.html", "-o", "crops.png", expected="page.html")
    environment.run("sr", "models", expected="ecbsr")
    missing = "needs PyTorch, which is not installed\nhint: pip install 'sr-cli[torch]'"
    environment.run("sr", "train", "fsrcnn", "--data", ".", "--out", "run", code=1, expected=missing)
    environment.run("sr", "export", "fsrcnn", code=1, expected=missing)
    downloaded = ("sr", "upscale", "photo.png", "-m", "edsr", "-o", "other.png")
    environment.run(*downloaded, code=1, expected="`pip install 'sr-cli[torch]'`")


def check_torch(environment: Environment) -> None:
    """Check what needs PyTorch."""
    words = ("sr", "upscale", "photo.png", "-x2", "-m", "fsrcnn", "--runtime", "torch", "-o", "torch.png")
    environment.run(*words, expected="600x400 -> 1200x800")
    environment.run("sr", "export", "fsrcnn", "-x2", "--to", "ncnn", "-o", "net.param", expected="net.param")


def measure_core(environment: Environment, wheel: Path) -> int:
    """Return the bytes that the core installs, and write them into benchmarks/results for the README."""
    size = environment.measure_size()
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB; the core installs {size / 1e6:.0f} MB")
    facts = {
        "core_bytes": size,
        "wheel_bytes": wheel.stat().st_size,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    RESULT.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return size


def main() -> None:
    """Check a core install and its tests, then the same environment with PyTorch."""
    wheel = build_wheel(ROOT / "dist")
    with tempfile.TemporaryDirectory() as folder:
        environment = Environment(Path(folder))
        environment.install(str(wheel))
        size = measure_core(environment, wheel)
        if size > MAX_BYTES:
            sys.exit(f"more than {MAX_BYTES / 1e6:.0f} MB")
        check_core(environment)
        environment.install("pytest", "hypothesis")
        tests = [ROOT / "tests" / f"test_{name}.py" for name in CORE_TESTS]
        settings = ["-m", "not slow", "-o", "pythonpath=tests", "-p", "no:cacheprovider", "--rootdir", ROOT]
        environment.run("pytest", "-q", *settings, "-c", ROOT / "pyproject.toml", *tests)
        environment.install(f"{wheel}[torch]")
        check_torch(environment)


if __name__ == "__main__":
    main()
