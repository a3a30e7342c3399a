"""Which file of a folder is which: names in any case, and everything else refused by name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_delivery import GOOD, NOW, TAGS, Deliver

from vidtopics.errors import InputError
from vidtopics.ingest import Source, recognise, stage
from vidtopics.settings import IngestSettings


def refusal(deliver: Deliver, folder: Path) -> str:
    """The message with which a delivery is refused; nothing is staged then."""
    into = deliver.root / "into"
    with pytest.raises(InputError) as error:
        stage(Source(recognise(folder), folder), into, IngestSettings(), delivered_at=NOW)
    assert not into.exists() or list(into.iterdir()) == []
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["VIDEOS.CSV", "videos.CSV", "Videos.csv"])
def test_names_are_read_in_any_case(deliver, name):
    folder = deliver.folder(tags=TAGS + "v1,new,2026-03-01\n")
    (folder / "videos.csv").rename(folder / name)
    (folder / "tags.csv").rename(folder / "Tags.Csv")
    assert recognise(folder) == "folder"
    staged = deliver.stage(folder)
    assert [file.name for file in staged.delivery.files] == sorted(
        ["Tags.Csv", name, "impressions.csv"]
    )
    assert {row["tag"] for row in staged.tables["video_tags"]} == {"golf", "slow", "new"}


def test_parquet_in_upper_case_is_read_as_parquet(deliver):
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    folder = deliver.folder()
    pq.write_table(pa_csv.read_csv(folder / "videos.csv"), folder / "VIDEOS.PARQUET")
    (folder / "videos.csv").unlink()
    assert deliver.stage(folder).tables == deliver().tables


@pytest.mark.parametrize("other", ["videos.parquet", "VIDEOS.csv", "Videos.CSV"])
def test_several_files_of_one_name_are_named(deliver, other):
    folder = deliver.folder()
    shutil.copy(folder / "videos.csv", folder / other)
    names = ", ".join(sorted(["videos.csv", other]))
    assert f"found both: {names}. Mend: leave the one that is meant" in refusal(deliver, folder)


def link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere.csv")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def text(path: Path) -> None:
    path.write_text(GOOD["videos"])


@pytest.mark.parametrize("name", ["videos", "impressions", "tags"])
@pytest.mark.parametrize(
    ("ending", "make", "words"),
    [
        (".csv", link_to_nowhere, "a link that leads nowhere, to nowhere.csv"),
        (".parquet", link_to_nowhere, "a link that leads nowhere, to nowhere.csv"),
        (".csv", loop, "a link that leads nowhere, to "),
        (".csv", os.mkdir, "found a directory. Mend: deliver one file under this name"),
        (".parquet", os.mkdir, "found a directory. Mend: deliver one file under this name"),
        (".csv", os.mkfifo, "found a pipe, socket or device"),
        (".csv.gz", text, ".csv.gz. Mend: unpack it"),
        (".zip", text, ".zip. Mend: unpack it"),
        (".CSV.GZ", text, ".CSV.GZ. Mend: unpack it"),
        (".xlsx", text, ".xlsx. Mend: save it as "),
        (".tsv", text, ".tsv. Mend: name it "),
        (".csv.txt", text, ".csv.txt. Mend: name it "),
    ],
)
def test_what_stands_in_for_a_file_is_named_and_never_taken_for_absent(
    deliver: Deliver, name: str, ending: str, make: Callable[[Path], None], words: str
) -> None:
    folder = deliver.folder()
    (folder / f"{name}.csv").unlink(missing_ok=True)
    make(folder / f"{name}{ending}")
    message = refusal(deliver, folder)
    assert f"{name}{ending}" in message
    assert words in message


@pytest.mark.parametrize(
    "other", ["videos.csv.gz", "tags.csv.bak", "tags-2025.csv", "videos", "tags"]
)
def test_files_beside_those_of_the_format_change_nothing(deliver, other):
    folder = deliver.folder()
    (folder / other).write_bytes(b"\x1f\x8b")
    assert deliver.stage(folder).tables == deliver().tables


def test_links_to_files_and_to_the_folder_are_followed(deliver, tmp_path):
    folder = deliver.folder()
    (folder / "videos.csv").rename(tmp_path / "elsewhere.csv")
    (folder / "videos.csv").symlink_to("../elsewhere.csv")
    (tmp_path / "alias").symlink_to(folder)
    assert deliver.stage(tmp_path / "alias").tables == deliver().tables


def test_a_path_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file.csv").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for path, words in [
        ("none", "found none"),
        ("file.csv", "found a file. Mend: give the directory that it lies in"),
        ("link", "found a link that leads nowhere, to nowhere"),
    ]:
        with pytest.raises(InputError, match=f"{path}: expected a directory, {words}"):
            recognise(tmp_path / path)


def test_a_file_or_folder_without_permission_is_named(deliver, monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    folder = deliver.folder()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        assert "expected a file to read, found Permission denied" in refusal(deliver, folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refuse)
        with pytest.raises(InputError, match="expected a directory, found Permission denied"):
            recognise(folder)
