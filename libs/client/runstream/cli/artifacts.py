"""`runstream artifacts`: files of runs and model versions."""

import hashlib
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from runstream_common.errors import InvalidArgument

from runstream.artifacts.errors import ContentCorrupt
from runstream.artifacts.locations import Location, joined, parse_place
from runstream.artifacts.results import Artifact
from runstream.cli import output
from runstream.cli.options import Json, Url
from runstream.query.client import Client

app = typer.Typer(no_args_is_help=True, help="List, fetch, store, copy and check files of runs and models.")

CAT_BYTES = 8 * 1024 * 1024
SHORT_DIGEST_CHARS = 12

PLACE_HELP = "Run id, runs:/ID/path, models:/NAME/VERSION/path, models:/NAME@ALIAS/path or runstream://… ."
Place = Annotated[str, typer.Argument(metavar="PLACE", help=PLACE_HELP)]
Places = Annotated[list[str], typer.Argument(metavar="PLACE...", help=PLACE_HELP)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


@app.command("ls")
def list_artifacts(
    place: Place,
    *,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Everything below, files only.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")] = 1000,
    url: Url = None,
    json: Json = False,
) -> None:
    """List a directory."""
    with Client(url) as client:
        found = list(islice(client.artifacts.list(place, recursive=recursive), limit + 1))
        if not found and not _is_root(place):
            found = [client.artifacts.stat(place)]  # a file; or it is not there, which must not look empty
    shown = found[:limit]
    if json:
        output.print_json({"artifacts": [item.to_dict() for item in shown], "more": len(found) > limit})
        return
    output.print_table(["size", "stored", "digest", "path"], [_row(item) for item in shown])
    if len(found) > limit:
        output.hint(f"the first {limit} are shown; --limit shows more")


def _is_root(place: str) -> bool:
    return not parse_place(place).path


def _row(item: Artifact) -> list[str | None]:
    if item.is_directory:
        return [None, None, None, f"{item.path}/"]
    size = output.bytes_cell(item.size_bytes)
    return [size, output.time_cell(item.stored_time), item.digest[:SHORT_DIGEST_CHARS], item.path]


@app.command()
def get(
    place: Place,
    target: Annotated[
        Path | None,
        typer.Argument(
            help="Where to. A file goes into it if it is a folder; of a directory the content goes into it. "
            "Default: the name of what is fetched."
        ),
    ] = None,
    *,
    quiet: Quiet = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Fetch a file or directory. What is there with the same content is not fetched; the rest is resumed."""
    with Client(url) as client:
        source = client.artifacts.resolve(place)
        location = parse_place(source)
        name = location.path.rpartition("/")[2] or _owner_name(location)
        goal = Path(name) if target is None else target
        if target is not None and target.is_dir() and location.path:
            entry = client.artifacts.stat(source)
            goal = target if entry.is_directory else target / name
        done = client.artifacts.download(source, to=goal, progress=False if quiet or json else None)
    if json:
        output.print_json(done.to_dict())
        return
    there = done.file_count - done.fetched_count
    typer.echo(
        f"fetched {output.files_cell(done.fetched_count)} ({output.bytes_cell(done.fetched_bytes)}) to {done.path}"
        + (f", {there:,} were there already" if there else "")
    )


def _owner_name(location: object) -> str:
    return location.owner_id if isinstance(location, Location) else "artifacts"


@app.command()
def put(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="LOCAL... PLACE",
            help="Files, which keep their names, and folders, which do too; of FOLDER/ only the content. "
            "The last one is the place: a run id, runs:/ID/path or runstream://… .",
        ),
    ],
    *,
    skip_special: Annotated[
        bool,
        typer.Option(
            "--skip-special", help="Leave symbolic links and special files out instead of refusing."
        ),
    ] = False,
    quiet: Quiet = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Store files and folders. What the store has already is not sent; an interrupted upload is resumed."""
    *sources, place = paths
    if not sources:
        raise InvalidArgument.of("PLACE", "give what to store, and then where")
    progress = False if quiet or json else None
    with Client(url) as client:
        target = client.artifacts.resolve(place)
        done = [
            client.artifacts.upload(
                source, target, _below(source), skip_special=skip_special, progress=progress
            )
            for source in sources
        ]
    files = sum(len(item.artifacts) for item in done)
    size_bytes = sum(item.size_bytes for item in done)
    sent_count, sent_bytes = sum(item.sent_count for item in done), sum(item.sent_bytes for item in done)
    if json:
        output.print_json(
            {
                "place": target,
                "file_count": files,
                "size_bytes": size_bytes,
                "sent_count": sent_count,
                "sent_bytes": sent_bytes,
            }
        )
        return
    typer.echo(
        f"stored {output.files_cell(files)} ({output.bytes_cell(size_bytes)}) at {target}; "
        f"sent {output.files_cell(sent_count)} ({output.bytes_cell(sent_bytes)})"
    )


def _below(source: str) -> str:
    """The directory that a folder goes to: its name, or none when its content was asked for."""
    path = Path(source)
    if not path.is_dir() or source.endswith(("/", "/.")) or source in {".", ".."}:
        return ""
    return path.resolve().name


@app.command()
def cat(
    place: Place,
    *,
    offset: Annotated[int, typer.Option(min=0, help="First byte.")] = 0,
    length: Annotated[int | None, typer.Option(min=0, help="At most so many bytes.")] = None,
    url: Url = None,
) -> None:
    """Write a file, or a range of it, to standard output. A whole file is checked against its digest at the end."""
    with Client(url) as client:
        digest = hashlib.sha256()
        entry = client.artifacts.stat(place)
        if entry.is_directory:
            raise InvalidArgument.of("PLACE", f"{place} is a directory; `artifacts get` fetches it")
        end = entry.size_bytes if length is None else min(entry.size_bytes, offset + length)
        with client.artifacts.open(place, buffer_bytes=CAT_BYTES) as file:
            file.seek(offset)
            left = max(0, end - offset)
            while left and (piece := file.read(min(CAT_BYTES, left))):
                digest.update(piece)
                sys.stdout.buffer.write(piece)
                left -= len(piece)
        sys.stdout.buffer.flush()
    if not offset and end == entry.size_bytes and digest.hexdigest() != entry.digest:
        raise ContentCorrupt(
            f"{entry.path}: what was read has SHA-256 {digest.hexdigest()}, not {entry.digest}"
        )


@app.command()
def du(places: Places, *, url: Url = None, json: Json = False) -> None:
    """Show number, size and digest of the files of runs or directories."""
    with Client(url) as client:
        found = [(place, client.artifacts.usage(place)) for place in places]
    if json:
        output.print_json({"trees": [{"place": place, **tree.to_dict()} for place, tree in found]})
        return
    output.print_table(
        ["size", "files", "sealed", "digest", "place"],
        [
            [
                output.bytes_cell(tree.size_bytes),
                f"{tree.file_count:,}",
                "yes" if tree.sealed else "no",
                tree.digest[:SHORT_DIGEST_CHARS],
                place,
            ]
            for place, tree in found
        ],
    )


@app.command("rm")
def remove(
    places: Places,
    *,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Directories and whole trees too.")
    ] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Delete files. There is no way back."""
    count = 0
    with Client(url) as client:
        if not recursive:
            for place in places:
                if _is_root(place) or client.artifacts.stat(place).is_directory:
                    raise InvalidArgument.of("PLACE", f"{place} is a directory; --recursive deletes it")
        for place in places:
            count += client.artifacts.delete(place)
    _say("deleted", count, json)


@app.command("cp")
def copy(source: Place, target: Place, *, url: Url = None, json: Json = False) -> None:
    """Copy a file, or the content of a directory, to another place of any run; no bytes are moved."""
    with Client(url) as client:
        tree = client.artifacts.copy(source, target)
    if json:
        output.print_json({"tree": tree.to_dict()})
    else:
        typer.echo(
            f"copied; the target has {output.files_cell(tree.file_count)} ({output.bytes_cell(tree.size_bytes)}) now"
        )


@app.command("mv")
def move(
    source: Place,
    target_path: Annotated[str, typer.Argument(metavar="PATH", help="New path in the same tree.")],
    *,
    url: Url = None,
    json: Json = False,
) -> None:
    """Rename a file or directory within one run."""
    with Client(url) as client:
        location = parse_place(client.artifacts.resolve(source))
        if not isinstance(location, Location) or not location.path:
            raise InvalidArgument.of("PLACE", f"{source} names no file or directory")
        root = location.uri.removesuffix(f"/{location.path}")
        count = client.artifacts.move(root, location.path, joined(target_path))
    _say("moved", count, json)


@app.command()
def verify(
    place: Place,
    *,
    read: Annotated[
        bool, typer.Option("--read", help="Read and hash every byte, instead of what the store says of it.")
    ] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Compare what the object store holds with what was recorded; fails when something is missing or wrong."""
    with Client(url) as client:
        found = client.artifacts.verify(place, read_content=read)
    if json:
        output.print_json(found.to_dict())
    elif found.ok:
        typer.echo(
            f"{output.files_cell(found.verified_count)} ({output.bytes_cell(found.verified_bytes)}) are as recorded"
        )
    else:
        output.print_table(
            ["problem", "path", "message"], [[p.reason, p.path, p.message] for p in found.problems]
        )
    if not found.ok:
        raise typer.Exit(output.EXIT_PROBLEM)


def _say(what: str, count: int, json: bool) -> None:
    if json:
        output.print_json({what: count})
    else:
        typer.echo(f"{what} {output.files_cell(count)}")
