"""Check the documents: every relative link leads somewhere, and docs/configuration.md holds what the code says.

`--write` brings docs/configuration.md up to date instead of complaining.
"""

import argparse
import re
import sys
from pathlib import Path

from runstream_artifact.settings import ArtifactSettings
from runstream_common.settings import settings_table
from runstream_gateway.settings import GatewaySettings, HttpSettings
from runstream_ingest.settings import IngestSettings
from runstream_metadata.settings import MetadataSettings
from runstream_registry.settings import RegistrySettings

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "docs" / "configuration.md"
BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken_links() -> list[str]:
    """Links of the project's Markdown files that lead nowhere."""
    problems = []
    pages = [p for p in ROOT.rglob("*.md") if not {".venv", ".local", "node_modules"} & set(p.parts)]
    for page in pages:
        for target in LINK.findall(CODE_BLOCK.sub("", page.read_text())):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                problems.append(f"{page.relative_to(ROOT)}: {target} does not exist")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
                problems.append(f"{page.relative_to(ROOT)}: {target} has no such heading")
    return problems


def with_tables(text: str) -> str:
    """The configuration page with current tables.

    Raises:
        SystemExit: the page has lost its markers.
    """
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{CONFIGURATION.relative_to(ROOT)} needs the lines {BEGIN} and {END}")
    tables = "\n\n".join(
        (
            settings_table(),
            settings_table(
                ArtifactSettings,
                IngestSettings,
                MetadataSettings,
                RegistrySettings,
                GatewaySettings,
                HttpSettings,
            ),
        )
    )
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="rewrite the generated tables")
    write = parser.parse_args().write
    problems = broken_links()
    current = CONFIGURATION.read_text()
    wanted = with_tables(current)
    if current != wanted:
        if write:
            CONFIGURATION.write_text(wanted)
        else:
            problems.append("docs/configuration.md is not current, run: python docs/check.py --write")
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
