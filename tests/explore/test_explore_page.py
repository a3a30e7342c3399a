"""The page in a real browser, from a file, with the network closed."""

import shutil
from urllib.parse import quote

import pytest
import topic_world as world

from vidtopics.cli import common
from vidtopics.explore import write_page

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs the package playwright (vidtopics[dev])"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore") / "home"
    write_page(world.build(folder), folder / "explore.html")
    return folder


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, home):
    """Opens a route at a width; no script may fail, and nothing be asked for but the file."""
    troubles, asked, opened = [], [], []

    def open_at(route="#/", width=1280, **options):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, offline=True, **options
        )
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((home / "explore.html").as_uri() + route)
        return page

    yield open_at
    for context in opened:
        context.close()
    assert troubles == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == len(opened)


def texts(page, selector):
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def figures(page):
    return dict(zip(texts(page, ".figure dt"), texts(page, ".figure dd"), strict=True))


def test_overview_shows_the_tables_figures(visit):
    page = visit()
    assert figures(page) == {
        "videos": "5",
        "topics": "3",
        "topics per video": "1.40",
        "release": "1",
        "as of": "Jan 8, 2026",
        "topic epoch": "3",
    }
    assert texts(page, ".card h2") == ["dog, naïve", "cat, sofa", "Topic 9"]
    assert texts(page, ".card .facts") == ["4 videos\nCTR 24.3%", "3 videos\nCTR 20.0%", "0 videos"]
    assert page.locator(".map circle").count() == 3
    assert page.locator(".card").nth(1).locator("img").count() == 3
    assert page.evaluate(
        "Promise.all([...document.images].map((i) => i.decode())).then(() => true)"
    )


def test_cards_sort_and_filter(visit):
    page = visit()
    page.get_by_label("Sort by").select_option("Label, A to Z")
    assert texts(page, ".card h2") == ["cat, sofa", "dog, naïve", "Topic 9"]
    page.get_by_label("Filter").fill("NAIVE do")
    assert texts(page, ".card h2") == ["dog, naïve"]
    assert texts(page, "main [role=status]") == ["1 topic"]
    page.get_by_role("link", name="dog, naïve").click()
    page.go_back()
    assert texts(page, ".card h2") == ["dog, naïve"]
    assert page.get_by_label("Filter").input_value() == "NAIVE do"


def test_a_card_leads_to_its_topic_with_the_queue_in_order(visit):
    page = visit()
    page.get_by_role("link", name="cat, sofa").click()
    assert page.url.endswith("#/topic/4")
    assert page.title() == "cat, sofa · vidtopics"
    assert texts(page, ".queue .position") == ["1", "2", "3"]
    assert [a.get_attribute("title") for a in page.locator(".tiles a").all()] == [
        "Cat sleeps",
        "Big cat",
        world.EVIL,
    ]
    assert texts(page, ".tiles .muted") == ["0.938", "0.750", "0.625"]
    assert texts(page, ".queue p") == [
        "CTR 35.0% · 10 exposures",
        "CTR 20.0% · 0 exposuresfresh",
        "CTR 12.0% · 30 exposures",
    ]
    assert page.locator(".queue a").first.inner_text() == "Cat sleeps"
    assert texts(page, ".chips a") == ["dog, naïve\n0.60", "Topic 9\n0.00"]
    assert figures(page) == {
        "videos": "3",
        "nearest": "3",
        "CTR": "20.0%",
        "born": "Jan 3, 2026",
        "main class": "cats",
    }


def test_a_circle_of_the_map_leads_to_its_topic(visit):
    page = visit()
    circle = page.locator('.map a[href="#/topic/7"] circle')
    circle.hover()
    assert page.locator(".tip").inner_text() == "dog, naïve\n4 videos · cats"
    circle.click()
    assert page.url.endswith("#/topic/7")


def test_a_topic_without_videos_says_so(visit):
    page = visit("#/topic/9")
    assert page.get_by_text("No video passes the queue's rules.").is_visible()
    assert page.locator(".tiles li").count() == 0


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("emile DOG", ["Émile the dog"]),
        ("b", ["Cat sleeps", "Big cat"]),  # the video of that very id
        ("cat", ["Cat sleeps", "Big cat"]),  # the title that begins so
        ("d", ["Dog runs", world.EVIL, "Émile the dog"]),
        ("cat s", ["Cat sleeps"]),
        ("removed", []),
    ],
)
def test_search_finds_ids_and_titles_without_accents(visit, query, titles):
    page = visit("#/topic/4")
    page.keyboard.press("/")
    page.keyboard.type(query)
    page.wait_for_url(f"**#/search/{quote(query)}")
    assert [a.get_attribute("title") for a in page.locator(".tiles a").all()] == titles
    page.go_back()
    assert page.url.endswith("#/topic/4")


def test_a_video_shows_its_weights_and_places(visit):
    page = visit("#/video/b")
    assert page.locator("h1").inner_text() == "Cat sleeps"
    assert texts(page, ".weights a") == ["cat, sofa", "dog, naïve"]
    assert texts(page, ".weight") == ["0.938", "0.500"]
    assert texts(page, ".weights .place") == ["no. 1 in its queue"]
    assert texts(page, ".words li") == ["cats", "pets", "<b>nap</b>", "sofa"]
    back = page.locator(".bar-back").first.bounding_box()["width"]
    assert page.locator(".bar-fill").first.bounding_box()["width"] == pytest.approx(
        0.9375 * back, abs=1
    )
    page.get_by_role("link", name="dog, naïve").click()
    assert page.url.endswith("#/topic/7")


def test_without_cover_or_centre_there_are_initials_and_a_word(visit):
    page = visit("#/video/e")
    assert page.locator(".hero .cover.empty").inner_text() == "ÉT"
    assert page.get_by_text("No centre lies within the threshold").is_visible()
    assert figures(page)["CTR"] == "–"


def test_a_hostile_title_is_text(visit):
    page = visit("#/topic/7")
    page.get_by_role("link", name="owned").click()
    assert page.url.endswith("#/video/c%2F%C3%A7%20%3F%23")
    assert page.locator("h1").text_content() == world.EVIL
    assert page.locator("img[src=x]").count() == 0
    assert page.title().startswith("</script>")


def test_the_policy_stops_a_script_that_got_into_the_markup(browser, home, tmp_path):
    text = (home / "explore.html").read_text(encoding="utf-8")
    file, script = (
        tmp_path / "page.html",
        "<script>document.documentElement.className='owned'</script>",
    )
    file.write_text(text.replace("</body>", script + "</body>"), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri() + "#/topic/4")
    assert (page.title(), page.locator("html").get_attribute("class")) == (
        "cat, sofa · vidtopics",
        None,
    )
    page.close()


ROUTES = (
    "/topic/4",
    "/topic/9",
    "/video/b",
    "/video/c%2F%C3%A7%20%3F%23",
    "/search/o",
    "/topic/999",
    "/%E0%A4%A",
    "/",
)


def test_a_phone_needs_no_sideways_scrolling(visit):
    page = visit(width=360, color_scheme="dark")
    right = "e.getBoundingClientRect().right > innerWidth + 1"
    outside = f"[...document.querySelectorAll('body *')].filter((e) => {right}).length"
    for route in ROUTES:
        page.evaluate(f"location.hash = {route!r}")
        page.wait_for_timeout(30)
        assert page.locator("h1").count() == 1
        assert (
            route,
            page.evaluate("document.documentElement.scrollWidth <= 360"),
            page.evaluate(outside),
        ) == (
            route,
            True,
            0,
        )


def test_an_unknown_topic_is_told(visit):
    assert "no topic 999" in visit("#/topic/999").locator("main").inner_text()


def test_the_keyboard_reaches_a_card_and_going_back_keeps_the_place(visit):
    page = visit(width=400)
    card = page.get_by_role("link", name="cat, sofa")
    card.focus()
    before = page.evaluate("scrollY")
    assert before > 100
    page.keyboard.press("Enter")
    page.wait_for_url("**#/topic/4")
    assert page.evaluate("[scrollY, document.activeElement.tagName]") == [0, "H1"]
    page.go_back()
    page.wait_for_function(f"Math.abs(scrollY - {before}) < 2")


def test_two_builds_give_the_same_bytes(home, capsys):
    first = (home / "explore.html").read_bytes()
    assert (
        common.run(
            [
                "explore",
                "--home",
                str(home),
                "--output",
                str(home / "below" / "again.html"),
                "--json",
            ]
        )
        == 0
    )
    assert (home / "below" / "again.html").read_bytes() == first
    assert f'"bytes": {len(first)}' in capsys.readouterr().out
    assert str(home).encode() not in first  # paths of this machine stay here


def test_a_home_without_a_release_is_an_error_that_names_run(tmp_path, capsys):
    (tmp_path / "tables").mkdir()
    assert common.run(["explore", "--home", str(tmp_path)]) == 2
    assert "vidtopics run" in capsys.readouterr().err
