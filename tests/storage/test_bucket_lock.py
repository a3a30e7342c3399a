"""The lock of a home in a bucket: who is refused, who takes over, what one that comes back does."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest
import topic_world as world

from vidtopics import contracts
from vidtopics.cli import common
from vidtopics.errors import BusyError, ConflictError, SettingsError
from vidtopics.releases.lock import FILE, STALE_S, acquire, hold
from vidtopics.storage import Address, leases
from vidtopics.storage.copying import copy_home
from vidtopics.storage.mirrors import open_mirror
from vidtopics.storage.sending import send
from vidtopics.tables import Tables
from vidtopics.tables.releases import read_log

HOLDER = """
import sys, time
from pathlib import Path
from vidtopics.releases.lock import hold
with hold(Path(sys.argv[1]), "vidtopics run"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def machine(home, bucket, tmp_path, monkeypatch):
    """The mirror of one bucket on a machine by that name."""
    copy_home(Address.parse(home), Address.parse(bucket.url()))

    def open_on(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return open_mirror(Address.parse(bucket.url()), models=True)

    return open_on


def later(monkeypatch, seconds):
    """As if the store's clock were so far ahead of the last renewal."""
    real = leases.now_ns
    monkeypatch.setattr(leases, "now_ns", lambda objects: real(objects) + int(seconds * 1e9))


def test_of_two_drivers_one_runs_and_the_other_names_it(machine, bucket, capsys):
    mirror = machine("a")
    with hold(mirror, "vidtopics train topics") as lock:
        machine("b")
        for words in (["run"], ["maintain"], ["release", "--allow", "x", "--because", "y"]):
            assert common.run([*words, "--home", bucket.url()]) == common.BUSY
            error = " ".join(capsys.readouterr().err.split())
            assert f"{bucket.url()}/{FILE}: expected no other run in this home" in error
            assert f"`vidtopics train topics`, process {os.getpid()} on " in error
            assert f"since {lock.owner.since}, last heard of " in error
    with hold(machine("b"), "vidtopics run") as after:
        assert after.number > lock.number


def test_a_copy_into_a_home_that_is_written_is_refused(machine, home, bucket):
    with (
        hold(machine("a"), "vidtopics run"),
        pytest.raises(ConflictError, match="expected no run that writes to it, found `vidtopics"),
    ):
        copy_home(Address.parse(home), Address.parse(bucket.url()))
    copy_home(Address.parse(home), Address.parse(bucket.url()))


def test_a_silent_owner_is_overtaken_and_can_neither_send_nor_release(machine, bucket, monkeypatch):
    first_home = machine("a")
    held = ExitStack()
    first = held.enter_context(hold(first_home, "vidtopics run"))
    second_home = machine("b")
    later(monkeypatch, STALE_S - 60)
    with pytest.raises(BusyError, match="last heard of 6"):
        acquire(second_home, "vidtopics rollback")
    later(monkeypatch, 61)
    second = acquire(second_home, "vidtopics rollback")
    assert second.number > first.number
    before = bucket.contents()
    first.touch()
    with pytest.raises(BusyError, match="overtaken: `vidtopics rollback`, process"):
        first.check()
    (first_home / "models/ranking/model.json").write_bytes(b'{"name": "a zombie\'s"}')
    with pytest.raises(BusyError, match="overtaken"):
        send(first_home)
    with pytest.raises(BusyError, match="overtaken"):
        world.publish(
            Tables(first_home), contracts.VIDEO_TOPICS, world.assigned({}), at=world.T + 1
        )
    second.check()
    with pytest.raises(BusyError, match="overtaken: `vidtopics rollback`"):
        held.close()
    assert bucket.contents() == before
    second.release()
    assert read_log(Tables(machine("b")))[-1].release_id == 1


def test_an_owner_that_was_killed_leaves_the_lock_to_its_own_machine_at_once(machine, monkeypatch):
    mirror = machine("a")
    process = subprocess.Popen([sys.executable, "-c", HOLDER, mirror], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(BusyError, match=f"process {process.pid} "):
        acquire(mirror, "vidtopics run")
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    with pytest.raises(BusyError, match=f"process {process.pid} "):
        acquire(machine("b"), "vidtopics run")
    with hold(mirror, "vidtopics run") as lock:
        assert lock.owner.pid == os.getpid()


@pytest.mark.slow
def test_a_killed_owner_of_another_machine_is_waited_for(machine, monkeypatch):
    mirror = machine("a")
    process = subprocess.Popen([sys.executable, "-c", HOLDER, mirror], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    process.kill()
    process.wait(60)
    other = machine("b")
    later(monkeypatch, STALE_S + 1)
    with hold(other, "vidtopics run") as lock:
        lock.check()


def test_who_took_over_beside_a_standing_process_is_not_taken_for_dead(machine, monkeypatch):
    """It hasn't the lock of the mirror's file, so nobody may conclude from that."""
    mirror = machine("a")
    first = acquire(mirror, "vidtopics run")
    later(monkeypatch, STALE_S + 1)
    second = acquire(mirror, "vidtopics rollback")
    later(monkeypatch, -STALE_S)
    first.release()
    with pytest.raises(BusyError, match="vidtopics rollback"):
        acquire(mirror, "vidtopics run")
    second.release()
    acquire(mirror, "vidtopics run").release()


def test_each_touch_is_heard_by_the_stores_clock(machine, bucket):
    lock = acquire(machine("a"), "vidtopics run")
    before = json.loads(bucket.read(f"home/{FILE}"))
    lock.touch()
    lock.touch()
    after = json.loads(bucket.read(f"home/{FILE}"))
    assert (before["renewals"], after["renewals"]) == (0, 2)
    lock.release()
    assert json.loads(bucket.read(f"home/{FILE}"))["is_held"] is False


def test_the_number_rises_although_the_clock_went_back(machine, bucket):
    acquire(machine("a"), "vidtopics run").release()
    held = json.loads(bucket.read(f"home/{FILE}"))
    bucket.put(f"home/{FILE}", json.dumps(held | {"holder": held["holder"] | {"number": 2**62}}))
    assert acquire(machine("a"), "vidtopics run").number == 2**62 + 1


@pytest.mark.parametrize(
    "text",
    ["{", *(pytest.param(t, marks=pytest.mark.slow) for t in ("", "{}", '{"pid": 1}', "[]"))],
)
def test_a_lock_that_is_no_lock_is_nobodys(machine, bucket, text):
    bucket.put(f"home/{FILE}", text)
    acquire(machine("a"), "vidtopics run").check()


def test_requests_that_are_made_again_find_their_own_lock(machine, bucket, through_proxy):
    mirror = machine("a")
    proxy = through_proxy("lose", every=3)
    lock = acquire(mirror, "vidtopics run")
    for _ in range(4):
        lock.touch()
    lock.check()
    lock.release()
    assert json.loads(bucket.read(f"home/{FILE}"))["is_held"] is False
    lost = [r for r in proxy.requests() if r["fault"] == "lose" and r["method"] == "PUT"]
    assert lost


def test_a_store_without_conditional_writes_is_refused(machine, bucket, through_proxy):
    mirror = machine("a")
    through_proxy("forget", every=1)
    with pytest.raises(SettingsError, match="expected a store with conditional writes"):
        acquire(mirror, "vidtopics run")
