"""The page in Chromium, over a service and a Redis that are real: a click, and what it changes."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256

import pytest
import yaml
from page_world import EVIL, applying, catalogue, live_service
from serving_world import release, service_over, serving, wait_for

from consumers.serving.keys import KeyRing
from vidtopics.events.generations import keys_of

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs the package playwright (vidtopics[dev])"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium")
NOBODY = "Events are accepted, but nobody applies them: start vidtopics events apply."


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def service(store, tmp_path):
    return live_service(store, tmp_path)


@contextmanager
def visited(browser, port, path="/#ann", *, width=1280, allowed=()):
    """The page; no script may fail, nothing be asked for elsewhere, and no answer be an error."""
    troubles, asked = [], []
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.set_default_timeout(100_000)
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{port}{path}")
    try:
        yield page
    finally:
        context.close()
    assert [text for text in troubles if not any(word in text for word in allowed)] == []
    own = (f"http://127.0.0.1:{port}/", f"blob:http://127.0.0.1:{port}/", "data:image/svg+xml,")
    assert [url for url in asked if not url.startswith(own)] == []


def videos(page, part):
    return [li.get_attribute("data-video") for li in page.locator(f".{part} > li").all()]


def figures(page, part):
    names = page.locator(f"#{part} .figure dt").all_inner_texts()
    return dict(zip(names, page.locator(f"#{part} .figure dd").all_inner_texts(), strict=True))


def test_a_click_changes_history_topics_counts_and_what_is_recommended(
    browser, service, store, tmp_path
):
    with (
        serving(service, page=catalogue(tmp_path)) as caller,
        applying(store),
        visited(browser, caller.connection.port) as page,
    ):
        page.locator(".recommended > li").first.wait_for()
        page.locator(".history > li").first.wait_for()
        assert videos(page, "history") == ["v0"]
        assert page.locator("h1").inner_text() == "ann"

        # Titles are text, whatever they say; covers come where there are any.
        assert page.locator(".history .title").inner_text() == EVIL
        assert page.title() == "ann · vidtopics live"
        page.locator(
            ".recommended [data-video=v1] img, .queue [data-video=v1] img"
        ).first.wait_for()

        # What was shown is sent as impressions, once.
        shown = videos(page, "recommended")
        keys = keys_of(store, "vt")
        streams = [keys.stream("user", bucket) for bucket in range(keys.layout.buckets)]
        wait_for(lambda: sum(map(store.xlen, streams)) == len(shown))

        clicked = shown[0]
        page.get_by_role("button", name=f"Title of {clicked}").first.focus()
        page.keyboard.press("Enter")
        page.locator(f".history > li:first-child[data-video={clicked}]").wait_for()
        assert videos(page, "history") == [clicked, "v0"]
        assert figures(page, "person")["clicks"].startswith("2 ")
        topic = page.get_by_role("list", name="Topics of the recent clicks").get_by_role("button")
        assert topic.all_inner_texts() == ["soccer, goal\nsports 2"]

        # The panel: the queue of the user's topic, in its order, with counts up to now.
        page.locator(".queue > li").first.wait_for()
        assert (
            videos(page, "queue")[:3]
            == service.watch.current.store.queues([5], epoch=1, limit=[3])[0]
        )
        row = page.locator(f".queue > li[data-video={clicked}] p")
        row.filter(has_text=re.compile(r"CTR .* · 2 impressions")).wait_for()
        assert figures(page, "live")["release"] == "1"
        assert page.locator(".notice").count() == 0


def test_a_clicked_video_leaves_what_is_recommended(browser, service, store, tmp_path):
    with (
        serving(service, page=catalogue(tmp_path)) as caller,
        applying(store),
        visited(browser, caller.connection.port) as page,
    ):
        page.locator(".recommended > li").first.wait_for()
        clicked = videos(page, "recommended")[1]
        page.locator(f".recommended > li[data-video={clicked}] .watch").click()
        page.locator(f".recommended > li[data-video={clicked}]").wait_for(state="detached")
        assert page.locator(".recommended > li").count() > 0


def test_where_nobody_applies_events_the_page_says_so(browser, service, tmp_path):
    with (
        serving(service, page=catalogue(tmp_path)) as caller,
        visited(browser, caller.connection.port) as page,
    ):
        page.locator(".notice", has_text=NOBODY).wait_for()
        page.locator(".recommended .watch").first.click()
        page.locator("[aria-busy=true]").wait_for(state="detached")
        assert videos(page, "history") == ["v0"]
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_a_click_that_is_refused_says_why(browser, service, tmp_path, monkeypatch):
    """The clock of whoever judges it lies two days behind the clock of Redis."""
    monkeypatch.setattr(service.events, "_max_ahead", -timedelta(days=2))
    with (
        serving(service, page=catalogue(tmp_path)) as caller,
        visited(browser, caller.connection.port, allowed=["422"]) as page,
    ):
        page.locator(".recommended .watch").first.click()
        refusal = page.locator(
            ".notice", has_text="The click was refused: expected event_timestamp"
        )
        refusal.wait_for()
        page.locator("[aria-busy=true]").wait_for(state="detached")


def test_a_key_is_asked_for_and_a_model_that_is_missing_is_said(browser, store, tmp_path):
    release(store, 1)
    entry = {"sha256": sha256(b"web").hexdigest(), "scopes": ["read", "events"], "rate": 1_000}
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"web": entry}))
    keys = KeyRing.read(tmp_path / "keys.yaml")
    service = service_over(store, tmp_path)  # no model was trained
    with (
        serving(service, keys, ready=False, page=catalogue(tmp_path)) as caller,
        visited(browser, caller.connection.port, width=390, allowed=["401"]) as page,
    ):
        wait_for(lambda: service.watch.current)
        page.get_by_label("API key").fill("web")
        page.get_by_role("button", name="Use it").click()
        page.locator(".recommended > li").first.wait_for()
        assert "No ranking model scored these" in page.locator("#notices").inner_text()
        assert not page.get_by_label("API key").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate("localStorage.length + sessionStorage.length") == 0
        assert "web" not in page.url
