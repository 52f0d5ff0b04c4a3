"""Generate `runstream_proto` (messages, gRPC stubs, type stubs) from `proto/runstream`.

The proto packages are `runstream.*`; the SDK owns the Python name `runstream`, so generated modules live in
`runstream_proto` and their imports are renamed on the way. `--check` compares instead of writing.
"""

import argparse
import filecmp
import re
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
TARGET = ROOT / "runstream_proto"
IMPORT = re.compile(r"^(\s*)(from|import) runstream(?=[.\s])", re.MULTILINE)


def generate(into: Path) -> None:
    """Run protoc over every proto and rewrite the imports; raises SystemExit when protoc fails."""
    sources = sorted(str(path) for path in (ROOT / "runstream").rglob("*.proto"))
    well_known = str(resources.files("grpc_tools") / "_proto")
    outputs = [f"--{kind}_out={into}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    # Beside this interpreter, which need not be on the PATH.
    programs = Path(sys.executable).parent
    plugins = [
        f"--plugin=protoc-gen-{name}={programs / f'protoc-gen-{name}'}" for name in ("mypy", "mypy_grpc")
    ]
    status = protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", *plugins, *outputs, *sources])
    if status != 0:
        raise SystemExit(status)
    package = into / "runstream_proto"
    (into / "runstream").rename(package)
    for path in (*package.rglob("*.py"), *package.rglob("*.pyi")):
        path.write_text(IMPORT.sub(r"\1\2 runstream_proto", path.read_text()))
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (folder / "__init__.py").touch()
    (package / "py.typed").touch()


def differences(left: Path, right: Path) -> list[str]:
    """Relative paths that differ or exist on one side only."""
    ours = {p.relative_to(left) for p in left.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    theirs = {p.relative_to(right) for p in right.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    both = ours & theirs
    changed = {p for p in both if not filecmp.cmp(left / p, right / p, shallow=False)}
    return sorted(str(p) for p in (ours ^ theirs) | changed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the committed code is not current")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = Path(folder) / "runstream_proto"
        if check:
            stale = differences(fresh, TARGET)
            if stale:
                sys.stderr.write(
                    "generated code is not current, run `make proto`:\n  " + "\n  ".join(stale) + "\n"
                )
            return 1 if stale else 0
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.copytree(fresh, TARGET)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
