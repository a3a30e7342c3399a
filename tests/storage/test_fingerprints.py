"""Tags of ours against those that an S3 server gives."""

import pytest

from vidtopics.storage import Address
from vidtopics.storage.fingerprints import PART, Fingerprint
from vidtopics.storage.objects import Objects

SIZES = [PART, 2 * PART]


@pytest.mark.parametrize(
    "size", [0, *(pytest.param(size, marks=pytest.mark.slow) for size in SIZES), 2 * PART + 5]
)
def test_the_tag_of_an_object_is_foretold(bucket, tmp_path, size):
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    (tmp_path / "a").write_bytes(content)
    objects = Objects(Address.parse(bucket.url()))
    taken = objects.take(Objects(Address.parse(tmp_path)), "a")
    objects.write("b", content)
    own = Fingerprint.of([content[:7], content[7:]])
    assert own == taken
    stored = objects.list()
    assert {key for key, item in stored.items() if own.has_tag(item.tag)} == {"a", "b"}
    assert bucket.contents() == {"a": content, "b": content}
    other = Fingerprint.of([content, b"x"])
    assert not any(other.has_tag(item.tag) for item in stored.values())


def test_an_object_is_created_once(bucket, tmp_path):
    for place in (bucket.url(), str(tmp_path / "folder")):
        objects = Objects(Address.parse(place))
        assert objects.create("log/1", b"one")
        assert not objects.create("log/1", b"two")
        assert objects.create("log/1", b"one")
        assert objects.read("log/1") == b"one"


def test_a_creation_whose_answer_was_lost_is_known_for_its_own(bucket, through_proxy):
    proxy = through_proxy("lose", every=2)
    objects = Objects(Address.parse(bucket.url()))
    assert [objects.create(f"log/{i}", b"own") for i in range(6)] == [True] * 6
    lost = [r for r in proxy.requests() if r["fault"] == "lose" and r["method"] == "PUT"]
    assert lost
    assert not objects.create("log/0", b"other")
