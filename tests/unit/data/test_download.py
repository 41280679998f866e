"""Downloads against a local server: cut, resumed, wrong, unsafe, half unpacked; and the table of
sources."""

import hashlib
import io
import shutil
import tarfile
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

import run_all
from benchmark import commands, data
from benchmark.data.download import archives, fetch, transfer
from benchmark.data.download.fetch import DownloadError
from benchmark.data.download.sources import LICENCES, SOURCES, STEPS, Source
from benchmark.data.download.table import table
from tests.fixtures.miniatures import build_voc2007

CHUNK = transfer.CHUNK
TEXT = bytes(range(256)) * 400 * 8  # 819,200 bytes, 12.5 chunks


class Server:
    """Serves `files` with ranges; `cuts` are numbers of bytes after which the next answers break
    off."""

    def __init__(self):
        self.files, self.cuts, self.requests, self.ranges = {}, [], [], True
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, handler):
        asked = handler.headers.get("Range")
        self.requests.append(asked)
        content = self.files.get(handler.path.lstrip("/"))
        if content is None:
            return handler.send_error(404)
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        start = start if handler.headers.get("If-Range", tag) == tag else 0
        if start >= len(content):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(content)}")
            handler.send_header("Content-Length", "0")
            return handler.end_headers()
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.send_header("ETag", tag)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        end = start + self.cuts.pop(0) if self.cuts else len(content)
        handler.wfile.write(content[start:end])
        handler.close_connection = True


@pytest.fixture
def server():
    it = Server()
    yield it
    it.http.shutdown()
    it.http.server_close()


@pytest.fixture
def put(server, monkeypatch):
    """put(file, content, …) makes the file the only source of voc2007, served locally."""
    monkeypatch.setattr(transfer.time, "sleep", lambda seconds: None)

    def put_source(file, content, checksum=None, provides="here", archive=False):
        server.files[file] = content
        checksum = f"md5:{hashlib.md5(content).hexdigest()}" if checksum is None else checksum
        source = Source(
            file, f"{server.url}/{file}", len(content), checksum, "by us", ".", provides, archive
        )
        monkeypatch.setitem(SOURCES, "voc2007", (source,))
        return source

    return put_source


def tar_of(members):
    """A tar from (name, bytes) or ready `TarInfo`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for item in members:
            if isinstance(item, tarfile.TarInfo):
                file.addfile(item)
            else:
                info = tarfile.TarInfo(item[0])
                info.size = len(item[1])
                file.addfile(info, io.BytesIO(item[1]))
    return stream.getvalue()


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_the_command_fetches_once(tmp_path, server, put, monkeypatch, capsys):
    put("list.txt", TEXT, provides="list.txt")
    flags = ["data", "voc2007", "--download", "--data", str(tmp_path)]
    for _ in range(2):
        assert commands.main(flags, run_all.QUICK, run_all.FULL) == 0
        assert "verified" in capsys.readouterr().out
    assert (tmp_path / "list.txt").read_bytes() == TEXT and len(server.requests) == 1
    put("gone.txt", TEXT, provides="gone.txt")
    server.files.clear()
    assert commands.main(flags, run_all.QUICK, run_all.FULL) == 2
    assert "gone.txt cannot be had: 404" in capsys.readouterr().err


# ---- transfer ------------------------------------------------------------------------------------


def test_cut_in_the_middle_continues_with_the_missing_bytes(tmp_path, server, put):
    put("list.txt", TEXT, provides="list.txt")
    server.cuts = [3 * CHUNK + 5, 2 * CHUNK + 7]  # up to a chunk is asked for again
    fetch.download("voc2007", tmp_path)
    assert (tmp_path / "list.txt").read_bytes() == TEXT
    assert server.requests == [None, f"bytes={3 * CHUNK}-", f"bytes={5 * CHUNK}-"]
    assert sorted(path.name for path in (tmp_path / ".downloads").iterdir()) == [
        "list.txt.json",
        "list.txt.lock",
    ]
    assert (
        fetch.status("voc2007", tmp_path)[0].checksum
        == f"md5:{hashlib.md5(TEXT).hexdigest()} verified"
    )
    fetch.download("voc2007", tmp_path)
    assert len(server.requests) == 3  # nothing is fetched twice


def test_a_later_command_continues(tmp_path, server, put):
    put("list.txt", TEXT, provides="list.txt")
    server.cuts = [5 * CHUNK + 9, 0, 0, 0]
    with pytest.raises(
        DownloadError, match=r"failed 3 times.*327,680 bytes are kept in .*list\.txt\.part"
    ) as caught:
        fetch.download("voc2007", tmp_path)
    assert "same command continues" in str(caught.value)
    assert fetch.status("voc2007", tmp_path)[0].state == "40 % downloaded"
    server.requests.clear()
    fetch.download("voc2007", tmp_path)
    assert server.requests == [f"bytes={5 * CHUNK}-"]
    assert (tmp_path / "list.txt").read_bytes() == TEXT


def test_nobody_listens(tmp_path, server, put):
    put("list.txt", TEXT)
    with pytest.raises(DownloadError, match="connection failed 3 times"):
        fetch.download("voc2007", tmp_path, base_url="http://127.0.0.1:9")


def test_server_without_ranges_starts_over(tmp_path, server, put):
    put("list.txt", TEXT, provides="list.txt")
    server.cuts, server.ranges = [CHUNK], False
    fetch.download("voc2007", tmp_path)
    assert (tmp_path / "list.txt").read_bytes() == TEXT and server.requests == [
        None,
        f"bytes={CHUNK}-",
    ]


def test_two_versions_of_a_file_are_never_joined(tmp_path, server, put):
    put("list.txt", TEXT, checksum="", provides="list.txt")
    server.cuts = [CHUNK, 0, 0, 0]
    with pytest.raises(DownloadError):
        fetch.download("voc2007", tmp_path)
    server.files["list.txt"] = TEXT[::-1]
    fetch.download("voc2007", tmp_path)
    assert (tmp_path / "list.txt").read_bytes() == TEXT[::-1]
    state = fetch.status("voc2007", tmp_path)[0].checksum
    assert state == f"sha256:{hashlib.sha256(TEXT[::-1]).hexdigest()} recorded, none is official"


@pytest.mark.parametrize("kept", [TEXT, TEXT + b"more than there is"])
def test_part_that_is_whole_or_too_long(tmp_path, server, put, kept):
    put("list.txt", TEXT, provides="list.txt")
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads/list.txt.part").write_bytes(kept)
    fetch.download("voc2007", tmp_path)
    assert (tmp_path / "list.txt").read_bytes() == TEXT


def test_wrong_checksum_names_file_expected_and_found(tmp_path, server, put):
    wanted = "md5:" + "0" * 32
    put("list.txt", TEXT, checksum=wanted, provides="list.txt")
    with pytest.raises(DownloadError) as caught:
        fetch.download("voc2007", tmp_path)
    text = str(caught.value)
    assert (
        "list.txt" in text
        and "0" * 32 in text
        and hashlib.md5(TEXT).hexdigest() in text
        and server.url in text
    )
    assert (
        not (tmp_path / "list.txt").exists()
        and fetch.status("voc2007", tmp_path)[0].state == "missing"
    )


def test_not_found_disk_full_and_no_room(tmp_path, server, put, monkeypatch):
    source = put("list.txt", TEXT)
    with pytest.raises(DownloadError, match=r"other/list\.txt cannot be had: 404"):
        fetch.download("voc2007", tmp_path, base_url=server.url + "/other")
    (tmp_path / ".downloads/list.txt.part").symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"list\.txt\.part cannot be written .*No space left"):
        fetch.download("voc2007", tmp_path)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 0, 1000))
    with pytest.raises(
        DownloadError, match=r"list\.txt needs 819\.2 kB more .* 1\.0 kB are free; make room"
    ):
        fetch.download("voc2007", tmp_path)
    assert source.size == len(TEXT)


def test_two_processes_do_not_write_one_file(tmp_path, server, put):
    source = put("list.txt", TEXT)
    (tmp_path / ".downloads").mkdir()
    with (
        fetch._alone(tmp_path, source),
        pytest.raises(DownloadError, match="another process downloads list"),
    ):
        fetch.download("voc2007", tmp_path)


# ---- archives ------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path, put):
    """The miniature VOC2007 as one tar, the only source; returns the folder to download into."""
    build_voc2007(tmp_path / "original")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        file.add(tmp_path / "original/VOCdevkit", "VOCdevkit")
    put(
        "voc.tar",
        stream.getvalue(),
        provides="VOCdevkit/VOC2007/ImageSets/Main/test.txt",
        archive=True,
    )
    return tmp_path / "data"


def test_archive_is_unpacked_beside_what_is_there(packed, monkeypatch):
    monkeypatch.setenv("LOWLABEL_DATA", str(packed))
    (packed / "VOCdevkit/VOC2007/JPEGImages").mkdir(parents=True)
    (packed / "VOCdevkit/VOC2007/JPEGImages/mine.jpg").write_text("stays")
    assert "incomplete" in table(packed, "voc2007")
    fetch.download("voc2007", packed)
    assert data.available("voc2007") == "" and data.load("voc2007").y.shape == (74, 20)
    assert (packed / "VOCdevkit/VOC2007/JPEGImages/mine.jpg").read_text() == "stays"
    assert not (packed / ".downloads/voc.tar").exists() and not list(
        packed.glob(".downloads/*.unpacking")
    )
    assert "ready" in table(packed, "voc2007") and "verified" in table(packed, "voc2007")


@pytest.mark.parametrize("moment", ["unpacking", "moving"])
def test_half_unpacked_folder_never_looks_complete(packed, monkeypatch, moment):
    monkeypatch.setenv("LOWLABEL_DATA", str(packed))
    replace, moved = archives.os.replace, []

    def interrupted(source, target):
        if ".unpacking" in str(source):
            moved.append(source)
            if len(moved) == 1 and moment == "moving":
                replace(source, target)  # everything is in place, yet the move was not finished
                raise KeyboardInterrupt
        return replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(archives.os, "replace", interrupted)
        if moment == "unpacking":
            patch.setattr(
                tarfile.TarFile,
                "extractall",
                lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt),
            )
        with pytest.raises(KeyboardInterrupt):
            fetch.download("voc2007", packed)
    assert "voc.tar.unpacking to be finished" in data.available("voc2007")
    assert fetch.status("voc2007", packed)[0].state == "unpacking was interrupted"
    with pytest.raises(FileNotFoundError, match="to be finished"):
        data.load("voc2007")
    fetch.download("voc2007", packed)
    assert data.load("voc2007").y.shape == (74, 20)


@pytest.mark.parametrize(
    "member",
    [
        ("../outside.txt", b"x"),
        ("a/../../outside.txt", b"x"),
        ("/tmp/lowlabel-outside.txt", b"x"),
        link("a/up", "../../outside", tarfile.SYMTYPE),
        link("abs", "/etc/passwd", tarfile.SYMTYPE),
        link("hard", "../outside", tarfile.LNKTYPE),
        link("pipe", "", tarfile.FIFOTYPE),
    ],
    ids=["up", "down-and-up", "absolute", "symlink-up", "symlink-absolute", "hardlink", "device"],
)
def test_no_tar_member_escapes(tmp_path, put, member):
    put("bad.tar", tar_of([("good.txt", b"y"), member]), provides="good.txt", archive=True)
    root = tmp_path / "data"
    with pytest.raises(DownloadError, match=r"bad\.tar: member '.*nothing was unpacked"):
        fetch.download("voc2007", root)
    assert not (tmp_path / "outside.txt").exists() and not (root / "good.txt").exists()
    assert not list(root.glob(".downloads/*.unpacking"))


def test_no_zip_member_escapes(tmp_path, put):
    for name in ("../outside.txt", "a\\..\\..\\outside.txt", "C:/outside.txt"):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as file:
            file.writestr("good.txt", "y")
            file.writestr(name, "x")
        root = tmp_path / "data"
        put("bad.zip", stream.getvalue(), provides="good.txt", archive=True)
        with pytest.raises(DownloadError, match=r"bad\.zip: member .* would land outside"):
            fetch.download("voc2007", root)
        assert not (tmp_path / "outside.txt").exists() and not (root / "good.txt").exists()
        shutil.rmtree(root)


def test_harmless_links_and_zip_files_are_unpacked(tmp_path, put):
    members = [
        ("a/one.txt", b"1"),
        link("b", "a/one.txt", tarfile.SYMTYPE),
        link("a/c", "../b", tarfile.SYMTYPE),
    ]
    put("good.tar", tar_of(members), provides="b", archive=True)
    fetch.download("voc2007", tmp_path)
    assert (tmp_path / "b").read_text() == (tmp_path / "a/c").read_text() == "1"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("a/two.txt", "2")
    put("good.zip", stream.getvalue(), provides="a/two.txt", archive=True)
    fetch.download("voc2007", tmp_path)
    assert (tmp_path / "a/two.txt").read_text() == "2" and (tmp_path / "a/one.txt").exists()


@pytest.mark.parametrize("name", ["cut.tar", "cut.zip"])
def test_broken_archive_with_the_right_checksum(tmp_path, put, name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("one.txt", "1" * 5000)
    content = (
        tar_of([("one.txt", b"1" * 5000)])[:3000]
        if name.endswith("tar")
        else stream.getvalue()[:3000]
    )
    put(name, content, provides="one.txt", archive=True)
    with pytest.raises(
        DownloadError, match=rf"{name} cannot be unpacked .*delete it and download it again"
    ):
        fetch.download("voc2007", tmp_path)
    assert not (tmp_path / "one.txt").exists()


# ---- table ---------------------------------------------------------------------------------------


def test_table_of_an_empty_folder_says_everything(tmp_path):
    text = table(tmp_path)
    for name in ("voc2007", "coco2014", "voc_mlt", "coco_mlt"):
        assert f"get it     python run_all.py data {name} --download" in text
        for source in SOURCES[name]:
            assert source.file in text and source.address in text and source.checksum[:12] in text
    assert text.count("licence") == 6 and text.count("incomplete") == 6
    assert "13.5 GB" in text and "911.1 MB" in text
    assert (
        "Step by step" in text
        and "Agreement and Disclaimer Form" in text
        and f"{tmp_path}/nus_wide" in text
    )
    assert "pictograms" in text and "embedded" in text
    one = table(tmp_path, "voc2007")
    assert "md5:c52e279531787c972589f7e41ab4ae64" in one and "coco2014" not in one


def test_every_data_set_on_disk_has_sources_or_steps_and_a_licence():
    own = [name for name in data.names() if name != "folder"]  # reads what people bring
    on_disk = [name for name in own if not data.embedded(name)]
    assert sorted(SOURCES) == sorted(LICENCES) == on_disk
    assert all(SOURCES[name] or name in STEPS for name in on_disk)
    for source in {source for sources in SOURCES.values() for source in sources}:
        kind, _, digest = source.checksum.partition(":")
        assert (
            len(digest) == {"md5": 32, "sha256": 64}[kind]
            and source.size > 0
            and source.address.startswith("http")
        )


def test_nus_wide_is_explained_and_nothing_is_fetched(tmp_path, capsys):
    fetch.download("nus_wide", tmp_path)
    assert "Step by step" in capsys.readouterr().out and not (tmp_path / ".downloads").exists()


def test_files_put_by_hand_are_used_and_said_to_be_unchecked(tmp_path):
    build_voc2007(tmp_path)
    states = {(row.state, row.checksum) for row in fetch.status("voc2007", tmp_path)}
    assert states == {("there, put by hand", "not checked")}
    assert "voc2007  ready" in table(tmp_path, "voc2007")
