"""The page in a real browser, from a file, with the network closed."""

import shutil
from urllib.parse import quote

import pytest
import topic_world as world

from vidtopics import contracts
from vidtopics.cli import common
from vidtopics.explore import search, write_page
from vidtopics.tables import Tables

CHROMIUM = shutil.which("chromium")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs the package playwright (vidtopics[dev])"
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One day's page in one file, and with its parts beside it; two days' page beside that."""
    folder = tmp_path_factory.mktemp("explore") / "home"
    tables = world.build(folder)
    write_page(tables, folder / "explore.html")
    write_page(tables, folder / "parts.html", inline=0)
    world.next_day(tables)
    write_page(tables, folder / "two days.html", inline=0)
    return folder


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, home):
    """Opens a route at a width; no script may fail, and nothing be asked for but files."""
    troubles, asked, opened = [], [], []

    def open_at(route="#/", width=1280, file="explore.html", **options):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, offline=True, **options
        )
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((home / file).as_uri() + route)
        page.wait_for_selector("h1")
        return page

    yield open_at
    for context in opened:
        context.close()
    assert troubles == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    pages = [url for url in asked if url.startswith("file:") and ".parts/" not in url]
    assert len(pages) == len(opened)
    assert len(asked) == len(set(asked)) or len(opened) > 1  # no part is asked for twice


def texts(page, selector):
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def figures(page):
    return dict(zip(texts(page, ".figure dt"), texts(page, ".figure dd"), strict=True))


def titles(page):
    """Of the tiles, once all of them are filled."""
    page.wait_for_selector(".tile:not(:has(a)), .queue li:not(:has(a))", state="detached")
    return [a.get_attribute("title") for a in page.locator(".tiles a").all()]


@pytest.mark.parametrize("file", ["explore.html", "parts.html"])
def test_overview_shows_the_tables_figures(visit, file):
    page = visit(file=file)
    assert figures(page) == {
        "videos": "5",
        "topics": "3",
        "topics per video": "1.40",
        "below threshold": "20.0%",
        "release": "1",
        "as of": "Jan 8, 2026",
        "topic epoch": "3",
    }
    assert texts(page, ".card h2") == ["dog, naïve", "cat, sofa", "Topic 9"]
    assert texts(page, ".card .facts") == ["4 videos\nCTR 24.3%", "3 videos\nCTR 20.0%", "0 videos"]
    assert page.locator(".map circle").count() == 3
    page.locator(".card").nth(1).locator("img").nth(1).wait_for()
    assert page.evaluate(
        "Promise.all([...document.images].map((i) => i.decode())).then(() => true)"
    )


def test_the_morning_line_says_what_to_look_at(visit):
    page = visit()
    page.locator(".morning span").nth(2).wait_for()
    assert texts(page, ".morning li") == [
        "Changes\nnothing to compare with",
        "Misplaced?\n2 videos of another class, 1 far from every centre",
        "Duplicates\n1 content with copies, 1 in different topics",
    ]
    page.get_by_role("navigation", name="What to look at").get_by_role("link", name="Misp").click()
    page.wait_for_url("**#/misplaced")
    assert titles(page) == ["Dog runs", "Émile the dog", "Émile the dog"]
    assert texts(page, ".tiles .muted")[0] == "60 exposures; in dog, naïve"
    assert page.locator("#places [aria-current=page]").inner_text() == "Misplaced?"


def test_cards_sort_and_filter_and_the_address_says_so(visit):
    page = visit()
    page.get_by_label("Sort by").select_option("Label, A to Z")
    assert texts(page, ".card h2") == ["cat, sofa", "dog, naïve", "Topic 9"]
    page.get_by_label("Filter").fill("NAIVE do")
    assert texts(page, ".card h2") == ["dog, naïve"]
    assert texts(page, "main [role=status]") == ["1 topic"]
    assert page.url.endswith("#/?sort=label&filter=NAIVE+do")
    page.get_by_role("link", name="dog, naïve").click()
    page.go_back()
    assert texts(page, ".card h2") == ["dog, naïve"]
    assert page.get_by_label("Filter").input_value() == "NAIVE do"


def test_a_link_to_an_order_and_a_filter_opens_them(visit):
    page = visit("#/?sort=loose")
    # closeness 0.6458, 0.8437, none
    assert texts(page, ".card h2") == ["dog, naïve", "cat, sofa", "Topic 9"]
    assert texts(page, ".card .ctr") == ["closeness 0.646", "closeness 0.844", "closeness –"]
    assert texts(visit("#/?sort=label&filter=cat"), ".card h2") == ["cat, sofa"]


def test_a_group_leads_to_its_topics(visit):
    page = visit()
    page.get_by_role("link", name="cats 2 topics").click()
    page.wait_for_url("**#/group/cats")
    assert page.locator("h1").inner_text() == "cats"
    assert texts(page, ".card h2") == ["dog, naïve", "cat, sofa"]
    assert figures(page) == {"topics": "2", "videos": "5", "exposures": "110", "CTR": "22.7%"}


def test_a_card_leads_to_its_topic_with_the_queue_in_order(visit):
    page = visit()
    page.get_by_role("link", name="cat, sofa").click()
    page.wait_for_url("**#/topic/4")
    page.wait_for_selector(".queue a")
    assert page.title() == "cat, sofa · vidtopics"
    assert titles(page) == ["Cat sleeps", "Big cat", world.EVIL, "Big cat"]
    assert texts(page, ".queue .position") == ["1", "2", "3"]
    assert texts(page, ".central .tiles .muted") == ["0.938", "0.750", "0.625"]
    assert texts(page, ".queue p") == [
        "CTR 35.0% · 10 exposures",
        "CTR 20.0% · 0 exposuresfresh",
        "CTR 12.0% · 30 exposures",
    ]
    assert page.locator(".queue a").first.inner_text() == "Cat sleeps"
    assert texts(page, ".similar a") == ["dog, naïve\n0.60", "Topic 9\n0.00"]
    assert figures(page) == {
        "videos": "3",
        "nearest": "2",
        "exposures": "40",
        "CTR": "20.0%",
        "closeness": "0.844",
        "below threshold": "0",
        "born": "Jan 3, 2026",
        "main class": "cats 100%",
    }


def test_the_rim_shows_the_nearest_videos_that_are_farthest(visit):
    page = visit("#/topic/7")
    page.wait_for_selector(".rim a")
    assert texts(page, ".rim .tile") == ["ÉT\nÉmile the dog\n0.250"]


def test_over_time_is_a_table_and_lines(visit):
    page = visit("#/topic/4", file="two days.html")
    page.wait_for_selector(".history")
    assert texts(page, ".history tbody tr") == [
        "Jan 8, 2026\t3\t–\t–",
        "Jan 9, 2026\t3\t30\t10.0%",  # 40 then, 70 now; 8 and 11 clicks
    ]
    assert (
        page.locator("svg[role=img]").first.get_attribute("aria-label") == "Videos: 3 to 3, last 3"
    )
    assert figures(page)["videos"] == "3 ±0"


def test_changes_name_topics_and_videos(visit):
    page = visit("#/changes", file="two days.html")
    assert figures(page) == {
        "new videos": "1",
        "videos gone": "0",
        "topics born": "1",
        "topics retired": "1",
        "kept their first topic": "40.0%",
        "kept their set of topics": "40.0%",
    }
    page.wait_for_selector(".tile:not(:has(a))", state="detached")
    assert texts(page, "section h2") == [
        "Grew most",
        "Topics born",
        "Topics retired",
        "Where new videos went",
        "Moved videos",
        "New videos",
    ]
    assert texts(page, ".moves > li > p") == [
        "2 videos from topic 7, retired to goat",
        "1 video from topic 7, retired to cat",
    ]
    assert page.locator("h2:has-text('New videos') + .tiles a").inner_text() == "Goat"


def test_duplicates_show_the_copies_together(visit):
    page = visit("#/duplicates")
    assert titles(page) == ["Dog runs", "Big cat"]
    assert texts(page, ".tiles .muted") == ["dog, naïve", "cat, sofa"]
    assert texts(page, ".badge") == ["in 2 topics"]


def test_a_circle_of_the_map_leads_to_its_topic(visit):
    page = visit()
    circle = page.locator('.map a[href="#/topic/7"] circle')
    circle.hover()
    assert page.locator(".tip").inner_text() == "dog, naïve\n4 videos · cats"
    circle.click()
    page.wait_for_url("**#/topic/7")


def test_a_topic_without_videos_says_so(visit):
    page = visit("#/topic/9")
    page.get_by_text("No video passes the queue's rules.").wait_for()
    assert page.locator(".tiles li").count() == 0


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("emile DOG", ["Émile the dog"]),
        ("b", ["Cat sleeps", "Big cat"]),  # the video of that very id; the title that begins so
        ("cat", ["Big cat", "Cat sleeps"]),  # the one that more people saw
        ("sof", ["Cat sleeps"]),  # a tag that begins so
        ("d", ["Dog runs", world.EVIL, "Émile the dog"]),
        ("cat s", ["Cat sleeps"]),
        ("removed", []),
        ("zzz", []),
    ],
)
def test_search_finds_ids_titles_and_tags_without_accents(visit, query, expected):
    page = visit("#/topic/4")
    page.keyboard.press("/")
    page.keyboard.type(query)
    page.wait_for_url(f"**#/search/{quote(query)}")
    page.get_by_role("heading", name=f"Results for “{query}”").wait_for()
    assert titles(page) == expected
    page.go_back()
    page.wait_for_url("**#/topic/4")


TITLES = ["Émile ÀÉÎ", "猫が好き cat", "한국어 제목", "rock'n'roll 4K", "Straße İI ǅ", "สวัสดี ok"]
MANY = "qu " + " ".join(f"qu{number}" for number in range(40))


@pytest.fixture(scope="module")
def titles_home(home):
    """Beside the other pages: videos with these titles, and every word in a part of its own."""
    tables = Tables(home)
    catalogued = [
        {
            "video_id": f"t{number}",
            "title": title,
            "cover": "",
            "primary_classes": [],
            "secondary_classes": [],
            "published_at": world.day(9),
            "removed_at": None,
            "content_hash": title,
        }
        for number, title in enumerate([*TITLES, MANY])
    ]
    world.publish_timed(
        tables, contracts.VIDEO_CATALOG, catalogued, [world.day(9)] * len(catalogued)
    )
    world.release(tables, world.T + world.DAY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_TABLES", search._TABLES.replace(str(search.POSTINGS), "1"))
        write_page(tables, home / "titles.html")


@pytest.mark.parametrize("title", TITLES)
def test_the_page_cuts_words_as_the_index_does(visit, titles_home, title):
    for query in (title, title.split()[-1], title.lower()):
        assert title in titles(visit(f"#/search/{quote(query)}", file="titles.html"))


def test_a_part_of_a_text_without_spaces_leads_to_it(visit, titles_home):
    for query in ("好き", "が好", "猫"):
        assert titles(visit(f"#/search/{quote(query)}", file="titles.html")) == [TITLES[1]]


def test_a_beginning_of_too_many_words_counts_as_a_whole_word(visit, titles_home):
    page = visit("#/search/qu", file="titles.html")
    assert titles(page) == [MANY]
    assert page.get_by_text("“qu”: as a whole word, since too many begin so.").is_visible()
    assert titles(visit("#/search/qu3", file="titles.html")) == [MANY]  # qu3, qu30 to qu39


def test_a_video_shows_its_weights_and_places(visit):
    page = visit("#/video/b")
    assert page.locator("h1").inner_text() == "Cat sleeps"
    assert texts(page, ".weights > li > a") == ["cat, sofa", "dog, naïve"]
    assert texts(page, ".weight") == ["0.938", "0.500"]
    page.get_by_text("no. 1 in its queue").wait_for()
    assert texts(page, ".weights .place") == [
        "shares cat, sofa · of its main class cats · no. 1 in its queue",
        "shares no term of its label · of its main class cats",
    ]
    assert texts(page, ".words li") == ["cats", "pets", "<b>nap</b>", "sofa"]
    back = page.locator(".bar-back").first.bounding_box()["width"]
    assert page.locator(".bar-fill").first.bounding_box()["width"] == pytest.approx(
        0.9375 * back, abs=1
    )
    page.get_by_role("link", name="dog, naïve").click()
    page.wait_for_url("**#/topic/7")


def test_without_cover_or_centre_there_are_initials_and_a_word(visit):
    page = visit("#/video/e")
    assert page.locator(".hero .cover.empty").inner_text() == "ÉT"
    assert page.get_by_text("No centre lies within the threshold").is_visible()
    assert figures(page)["CTR"] == "–"


def test_a_hostile_title_is_text(visit):
    page = visit("#/topic/7")
    page.get_by_role("link", name="owned").first.click()
    page.wait_for_url("**#/video/c%2F%C3%A7%20%3F%23")
    assert page.locator("h1").text_content() == world.EVIL
    assert page.locator("img[src=x]").count() == 0
    assert page.title().startswith("</script>")


def test_a_part_that_is_gone_is_named(browser, home, tmp_path):
    shutil.copy(home / "parts.html", tmp_path)
    page = browser.new_page()
    page.goto((tmp_path / "parts.html").as_uri() + "#/topic/4")
    page.locator("[role=alert]").first.wait_for()
    assert "topics/0.js can't be read" in page.locator("[role=alert]").first.inner_text()
    page.close()


def test_the_policy_stops_a_script_that_got_into_the_markup(browser, home, tmp_path):
    text = (home / "explore.html").read_text(encoding="utf-8")
    file, script = (
        tmp_path / "page.html",
        "<script>document.documentElement.className='owned'</script>",
    )
    file.write_text(text.replace("</body>", script + "</body>"), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri() + "#/topic/4")
    page.wait_for_selector("h1")
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
    "/group/cats",
    "/changes",
    "/misplaced",
    "/duplicates",
    "/%E0%A4%A",
    "/",
)


def test_a_phone_needs_no_sideways_scrolling(visit):
    page = visit(width=360, file="two days.html", color_scheme="dark")
    right = "e.getBoundingClientRect().right > innerWidth + 1"
    outside = f"[...document.querySelectorAll('body *')].filter((e) => {right}).length"
    for route in ROUTES:
        page.evaluate(f"location.hash = {route!r}")
        page.wait_for_timeout(60)
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


NAMELESS = """[...document.querySelectorAll('a, button, input, select, svg[role=img]')]
  .filter((e) => e.closest('.map a') === null && e.getClientRects().length)
  .filter((e) => !(e.innerText?.trim() || e.getAttribute('aria-label') || e.labels?.length))
  .map((e) => e.outerHTML)"""
LEVELS = "[...document.querySelectorAll('h1, h2, h3')].map((e) => Number(e.tagName[1]))"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_control_has_a_name_and_headings_go_down_by_one(visit, scheme):
    page = visit(file="two days.html", color_scheme=scheme)
    for route in ROUTES:
        page.evaluate(f"location.hash = {route!r}")
        page.wait_for_selector("main:not([aria-busy])")
        page.wait_for_selector(".tile:not(:has(a)), .queue li:not(:has(a))", state="detached")
        assert (route, page.evaluate(NAMELESS)) == (route, [])
        levels = page.evaluate(LEVELS)
        assert (route, levels[:1], levels.count(1), max(levels) <= 2) == (route, [1], 1, True)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(247, 246, 243)", "dark": "rgb(19, 19, 24)"}[scheme]


def test_tab_goes_from_the_skip_link_over_the_pages_to_the_search(visit):
    page = visit()
    names = []
    for _ in range(6):
        page.keyboard.press("Tab")
        names.append(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label')"
                " ?? (document.activeElement.innerText || document.activeElement.id)"
            )
        )
    pages = ["Changes", "Misplaced?", "Duplicates"]
    assert names == ["Skip to content", "vidtopics, all topics", *pages, "query"]
    page.get_by_role("link", name="Skip to content").press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.locator("h1").inner_text() == "Topics"


def test_an_unknown_topic_is_told(visit):
    assert "no topic 999" in visit("#/topic/999").locator("main").inner_text()


def test_the_keyboard_reaches_a_card_and_going_back_keeps_the_place(visit):
    page = visit(width=400)
    card = page.get_by_role("link", name="cat, sofa")
    card.focus()
    before = page.evaluate("scrollY")
    assert before > 100
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:focus")
    assert (page.url.endswith("#/topic/4"), page.evaluate("scrollY")) == (True, 0)
    page.go_back()
    page.get_by_label("Sort by").wait_for()
    for _ in range(100):  # a predicate in the page would need its policy's leave to be evaluated
        if abs(page.evaluate("scrollY") - before) < 2:
            return
        page.wait_for_timeout(20)
    pytest.fail(f"scrolled to {page.evaluate('scrollY')}, not back to {before}")


def test_two_builds_give_the_same_bytes(home, capsys):
    pages = [home / "below" / f"{number}.html" for number in (1, 2)]
    for page in pages:
        words = ["explore", "--home", str(home), "--output", str(page), "--json"]
        assert common.run(words) == 0
    first = pages[0].read_bytes()
    assert pages[1].read_bytes() == first
    assert f'"bytes": {len(first)}' in capsys.readouterr().out
    assert str(home).encode() not in first  # paths of this machine stay here


def test_a_home_without_a_release_is_an_error_that_names_run(tmp_path, capsys):
    (tmp_path / "tables").mkdir()
    assert common.run(["explore", "--home", str(tmp_path)]) == 2
    assert "vidtopics run" in capsys.readouterr().err
