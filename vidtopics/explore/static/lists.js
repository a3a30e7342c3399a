// Fills `list` with the first `step` items and more on demand: by its button, and with `ahead` when its end comes near.
function grow(list, items, make, { step = 48, ahead = false } = {}) {
  let shown = 0;
  const button = el("button", { type: "button", class: "more", onclick: () => more(true) });
  const more = (focus) => {
    const from = list.children.length;
    list.append(...items.slice(shown, shown + step).map(make));
    shown = Math.min(shown + step, items.length);
    button.textContent = `Show more (${number(items.length - shown)} left)`;
    button.hidden = shown === items.length;
    if (focus && button.hidden) list.children[from].querySelector("a")?.focus();
  };
  more(false);
  if (ahead) new IntersectionObserver(([seen]) => seen.isIntersecting && more(false), { rootMargin: "800px" }).observe(button);
  return [list, button];
}

function videoTile({ video, weight }) {
  return el(
    "li",
    { class: "tile" },
    cover(video),
    el("a", { href: videoLink(video), dir: "auto", title: video.title }, video.title || video.id),
    weight === undefined ? null : el("span", { class: "muted", title: "cosine to the topic's centre" }, weight.toFixed(3)),
  );
}

function figure(value, name, hint) {
  return el("div", { class: "figure", title: hint }, el("dt", {}, name), el("dd", {}, value));
}
