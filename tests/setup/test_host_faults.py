"""Commands on a machine that fails them: exit status 2, one message, nothing half done."""

import errno
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager

import pytest
import topic_world as world

from vidtopics import server
from vidtopics.cli import common, streams
from vidtopics.contracts import VIDEO_CATALOG
from vidtopics.errors import MachineError
from vidtopics.tables import Tables

VIDTOPICS = [sys.executable, "-c", "from vidtopics.cli import main; main()"]
COLUMNS = "video_id,title,cover,primary_class,secondary_class,tags,published_at\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A released home that was loaded into its own server, which runs."""
    folder = tmp_path_factory.mktemp("faults") / "home"
    world.build(folder)
    lines = [f"a,2026-01-08T12:00:00Z,{hash(i):x}" for i in range(5_000)]
    spine = "\n".join(["video_id,event_timestamp,note", *lines])
    (folder.parent / "spine.csv").write_text(f"{spine}\n")
    before = os.environ.pop("REDIS_URL", None)
    try:
        assert common.run(["materialize", "--home", str(folder)]) == 0
        yield folder
    finally:
        server.stop(folder)
        if before is not None:
            os.environ["REDIS_URL"] = before


@pytest.fixture(autouse=True)
def no_named_server(monkeypatch):
    monkeypatch.delenv("REDIS_URL", raising=False)


def mount(*arguments):
    """Mounts for a test; skips it where that isn't allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mount needs root: {done.stderr.strip()}")


@contextmanager
def read_only(folder):
    """A folder that nothing can be written to: for root by a mount, else by its mode."""
    if os.geteuid():
        paths = [folder, *folder.rglob("*")]
        modes = {path: path.stat().st_mode for path in paths}
        for path in paths:
            path.chmod(modes[path] & ~0o222)
        try:
            yield
        finally:
            for path in paths:
                path.chmod(modes[path])
        return
    mount("--bind", str(folder), str(folder))
    try:
        mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder, size):
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def run(capsys, *arguments):
    """Exit status and standard error of a command in this process."""
    capsys.readouterr()
    status = common.run([str(a) for a in arguments])
    return status, capsys.readouterr().err


def assert_one_message(status, err, *parts):
    assert status == 2, err
    assert "Traceback" not in err
    message = err.splitlines()[-1]
    assert message.startswith("Error ")
    assert err.count("Mend: ") == 1
    for part in parts:
        assert str(part) in message


READERS = [
    ["features", "a"],
    ["reconcile"],
    ["materialize"],
    ["redis", "start"],
    ["explore", "--output", "PAGE"],
    ["join", "SPINE", "OUT"],
]


def test_what_only_reads_reads_a_read_only_home(home, tmp_path, capsys):
    places = {"PAGE": "page.html", "OUT": "out.parquet"}
    with read_only(home):
        for reader in READERS:
            words = [str(tmp_path / places[w]) if w in places else w for w in reader]
            words = [str(home.parent / "spine.csv") if w == "SPINE" else w for w in words]
            status, err = run(capsys, *words, "--home", home)
            assert (reader, status) == (reader, 0), err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.parquet", "page.html"]


def test_what_writes_names_the_folder_that_is_read_only(home, tmp_path, capsys):
    delivery = tmp_path / "delivery"
    delivery.mkdir()
    (delivery / "videos.csv").write_text(f"{COLUMNS}x,X,,,,,2026-01-01\n")
    (delivery / "impressions.csv").write_text("user_id,video_id,event_timestamp,clicked\n")
    version = Tables(home).delta(VIDEO_CATALOG).version()
    with read_only(home):
        for words in (["ingest", "folder", delivery], ["explore"], ["apply"]):
            assert_one_message(*run(capsys, *words, "--home", home), home)
    assert Tables(home).delta(VIDEO_CATALOG).version() == version


def test_a_read_only_home_whose_server_does_not_run_says_where_to_start_it(tmp_path, capsys):
    home = tmp_path / "home"
    world.build(home)
    with read_only(home):
        assert_one_message(
            *run(capsys, "features", "a", "--home", home),
            "the embedded Redis (Valkey) in",
            "vidtopics redis start",
            "REDIS_URL",
        )
    assert not (home / "redis").exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EMFILE])
def test_a_page_that_can_not_be_written_wherever_the_tests_run(
    home, tmp_path, capsys, monkeypatch, number
):
    """Mounts need root; here the system call fails, once the text is written."""

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    page = tmp_path / "page.html"
    page.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        status, err = run(capsys, "explore", "--output", page, "--home", home)
    assert_one_message(status, err, page)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("size", ["32k", "100k", "140k"])
def test_a_full_disk_is_told_with_its_size(home, tmp_path, capfd, size):
    delivery = tmp_path / "delivery"
    delivery.mkdir()
    lines = "".join(f"x{i},Title {i},,,,,2026-01-01\n" for i in range(5_000))
    (delivery / "videos.csv").write_text(f"{COLUMNS}{lines}")
    (delivery / "impressions.csv").write_text("user_id,video_id,event_timestamp,clicked\n")
    disk = tmp_path / "disk"
    with small_disk(disk, size):
        status, err = run(capfd, "ingest", "folder", delivery, "--home", disk)
        assert_one_message(status, err, disk, f"a disk of {size[:-1]} kB")
        assert "panicked" not in err
        assert not list(disk.iterdir())


def test_a_full_disk_for_an_output_leaves_no_half_file(home, tmp_path, capsys):
    disk, spine = tmp_path / "disk", home.parent / "spine.csv"
    with small_disk(disk, "8k"):
        for words in (
            ["explore", "--output", disk / "page.html"],
            ["join", spine, disk / "out.parquet"],
        ):
            status, err = run(capsys, *words, "--home", home)
            assert_one_message(status, err, words[-1], "a disk of 8 kB")
            assert list(disk.iterdir()) == []


def test_joins_put_their_scratch_files_into_the_systems_folder(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    spine = home.parent / "spine.csv"
    status, err = run(capsys, "join", spine, tmp_path / "out.parquet", "--home", home)
    assert_one_message(status, err, tmp_path / "none")


def test_a_dangling_link_as_home_or_output_is_named(home, tmp_path, capsys):
    link = tmp_path / "link"
    link.symlink_to("nowhere/x")
    for words in (
        ["ingest", "folder", tmp_path, "--home", link],
        ["ingest", "folder", tmp_path, "--home", link / "below"],
        ["features", "a", "--home", link],
        ["redis", "start", "--home", link],
        ["explore", "--output", link, "--home", home],
        ["explore", "--output", link / "page.html", "--home", home],
    ):
        status, err = run(capsys, *words)
        assert_one_message(status, err, f"{link}: ", "where nothing is")
    assert [p.name for p in tmp_path.iterdir()] == ["link"]


def command(*arguments, **options):
    """The command as a process; its status and standard error."""
    done = subprocess.run(
        [*VIDTOPICS, *arguments],
        stderr=subprocess.PIPE,
        timeout=120,
        check=False,
        **({"stdout": subprocess.PIPE} | options),
    )
    return done.returncode, done.stderr.decode()


def test_a_full_standard_output_is_one_message(home):
    for words in (["--version"], ["features", "a", "--home", home, "--json"]):
        with open("/dev/full", "wb") as full:
            assert_one_message(*command(*words, stdout=full), "standard output: expected room")


def test_a_reader_that_goes_away_ends_the_command_quietly(home):
    """`vidtopics --help | head -1`: as SIGPIPE ends other programs, 128 + 13."""
    read, write = os.pipe()
    os.close(read)
    try:
        for words in (["--help"], ["--version"], ["features", "a", "--home", home, "--json"]):
            assert command(*words, stdout=write) == (141, "")
    finally:
        os.close(write)


def test_closed_streams(home):
    status, err = command("--version", stdout=None, preexec_fn=lambda: os.close(1))
    assert_one_message(status, err, "standard output: expected an open stream")
    assert command("--version", preexec_fn=lambda: os.close(0)) == (0, "")
    done = subprocess.run(
        [*VIDTOPICS, "features", "a", "--home", "/nowhere"],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.close(2),
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("words", [["features", b"v\xe9"], ["recommend", b"u\xe9"]])
def test_an_argument_in_another_encoding_is_named(home, words):
    status, err = command(*words, "--home", home)
    assert_one_message(status, err, rf"{words[1][:1].decode()}\xe9: expected text in UTF-8")


def test_a_home_in_another_encoding_is_refused_before_anything_is_made(tmp_path):
    home = bytes(tmp_path) + b"/caf\xe9"
    assert_one_message(*command("ingest", "folder", tmp_path, "--home", home), r"caf\xe9: expected")
    inside = bytes(tmp_path) + b"/in\xe9"
    os.mkdir(inside)
    status, err = command("ingest", "folder", tmp_path, cwd=inside)
    assert_one_message(status, err, r"in\xe9/.vidtopics: expected text in UTF-8")
    assert os.listdir(bytes(tmp_path)) == [b"in\xe9"]
    assert os.listdir(inside) == []


def test_a_terminal_that_lacks_characters_or_columns_gets_escapes(home):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "20"}
    done = subprocess.run(
        [*VIDTOPICS, "features", "é", "--home", str(home)],
        env=environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\xe9" in done.stdout


def test_a_working_folder_that_was_removed_is_named(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    status, err = command("features", "a", cwd=gone, preexec_fn=gone.rmdir)
    assert_one_message(status, err, "the working directory: expected")


def test_another_users_home_is_refused_with_its_owner(home, capsys):
    if os.geteuid():
        pytest.skip("needs root to become another user")
    run(capsys, "features", "a", "--home", home)  # all that it takes is imported
    with tempfile.TemporaryDirectory() as locked:
        os.seteuid(65_534)
        try:
            status, err = run(capsys, "features", "a", "--home", locked)
        finally:
            os.seteuid(0)
    assert_one_message(status, err, f"{locked} is root's, mode 0700", "permission denied")


def test_output_that_fails_is_a_machine_error_once():
    stream = streams.StandardOutput(open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(MachineError, match=r"^standard output: expected room"):
        stream.write("x" * 100_000)
    stream.flush()  # nothing fails again when the interpreter ends
    stream.close()
    quiet = streams.StandardError(open("/dev/full", "wb"), write_through=True)  # noqa: SIM115
    assert quiet.write("x") == 1
    quiet.close()
