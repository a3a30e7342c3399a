const main = document.getElementById("main");
const queryBox = document.getElementById("query");
let home = null; // kept with what was typed and unfolded in it

function page(hash) {
  const [, kind, rest = ""] = hash.match(/^#\/(topic|video|search)\/(.*)$/s) ?? [];
  const key = decoded(rest);
  if (kind === "topic" && topicById.has(key)) return topicPage(topicById.get(key));
  if (kind === "video" && videoById.has(key)) return videoPage(videoById.get(key));
  if (kind === "search" && key) return searchPage(key);
  if (kind) return el("div", { class: "page" }, el("h1", { tabindex: "-1" }, "Not here"), el("p", {}, `This release has no ${kind} ${key}. `, el("a", { href: "#/" }, "All topics")));
  return (home ??= overview());
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function show() {
  if (location.hash === "#main") return;
  const shown = page(location.hash);
  main.replaceChildren(shown);
  if (document.activeElement !== queryBox) queryBox.value = location.hash.startsWith("#/search/") ? decoded(location.hash.slice(9)) : "";
  document.title = `${shown.querySelector("h1").textContent} · vidtopics`;
}

// Going back keeps the place on the page, which the browser restores; following a link starts at the top.
let followed = false;
addEventListener("popstate", () => {
  show();
  if (followed) {
    scrollTo(0, 0);
    main.querySelector("h1").focus({ preventScroll: true });
  }
  followed = false;
});
document.addEventListener("click", (event) => {
  if (event.target.closest('a[href^="#/"]') && !event.ctrlKey && !event.metaKey && !event.shiftKey) followed = true;
});

function search() {
  const query = queryBox.value.trim();
  const hash = query ? `#/search/${encodeURIComponent(query)}` : "#/";
  if (hash === location.hash) return;
  const again = location.hash.startsWith("#/search/"); // one entry in the history per search, not per letter
  history[again ? "replaceState" : "pushState"](null, "", hash);
  show();
  scrollTo(0, 0);
}
queryBox.addEventListener("input", search);
document.getElementById("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
  event.preventDefault();
  queryBox.focus();
});

document.getElementById("foot").append(`Release ${raw.release.id}, as of ${raw.release.as_of.replace("T", " ").replace("+00:00", " UTC")}. Written by vidtopics explore; this file loads nothing from anywhere.`);
show();
