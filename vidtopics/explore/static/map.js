// Topics on the plane of their first two principal components; a circle's area is the number of videos.
const CIRCLES = 1000; // of more topics the largest are drawn
function topicMap(shownTopics) {
  const drawn = [...shownTopics].sort(byPlace((a, b) => b.videos - a.videos)).slice(0, CIRCLES);
  const tip = el("div", { class: "tip", hidden: true });
  const drawing = svg("svg", { role: "img", "aria-label": "Map of topics by likeness; the list below holds the same topics." });
  const note = drawn.length < shownTopics.length ? el("p", { class: "muted note" }, `The ${number(drawn.length)} largest of ${number(shownTopics.length)} topics.`) : null;
  const frame = el("div", { class: "map" }, drawing, tip);
  new ResizeObserver(() => drawMap(drawn, drawing, tip, frame.clientWidth)).observe(frame);
  return el("section", { class: "panel", "aria-label": "Map" }, frame, legend(drawn), note);
}

function drawMap(drawn, drawing, tip, width) {
  const height = Math.round(Math.min(Math.max(width * 0.46, 300), 500));
  const circles = spread(placed(drawn, width, height), width, height);
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.style.height = `${height}px`;
  drawing.replaceChildren(
    ...circles.map((circle) => circleLink(circle, tip, width)),
    ...withRoom(named(circles, width > 700 ? 24 : 4), width).map(({ topic, x, y }) => svg("text", { x, y: y + 4, class: "label" }, topic.terms[0] ?? "")),
  );
}

// Largest first, so that smaller circles lie on top.
function placed(drawn, width, height) {
  const [xs, ys] = [0, 1].map((axis) => ranks(drawn.map((topic) => topic.xy[axis])));
  const carried = drawn.reduce((sum, topic) => sum + topic.videos, 0) || 1;
  const area = (0.42 * width * height) / Math.PI / carried; // of a video: circles cover two fifths of the map
  return drawn
    .map((topic, i) => ({
      topic,
      radius: Math.min(Math.max(3, Math.sqrt(area * topic.videos)), height / 5),
      x: 30 + xs[i] * (width - 60),
      y: 30 + ys[i] * (height - 60),
    }))
    .sort((a, b) => b.radius - a.radius || a.topic.place - b.topic.place);
}

// Between the value itself and its rank: dense middles open up, the order stays.
function ranks(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const sorted = [...values].sort((a, b) => a - b);
  const rank = new Map(sorted.map((value, i) => [value, i / Math.max(values.length - 1, 1)]));
  return values.map((value) => 0.5 * rank.get(value) + 0.5 * ((value - low) / (high - low || 1)));
}

// Pushes circles that overlap apart, fewer rounds where there are many.
function spread(circles, width, height) {
  const rounds = Math.min(60, Math.ceil(8_000_000 / circles.length ** 2));
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < circles.length; i++) for (let j = 0; j < i; j++) part(circles[i], circles[j]);
    for (const circle of circles) {
      circle.x = Math.min(Math.max(circle.x, circle.radius + 1), width - circle.radius - 1);
      circle.y = Math.min(Math.max(circle.y, circle.radius + 1), height - circle.radius - 1);
    }
  }
  return circles;
}

function part(a, b) {
  const [dx, dy] = [a.x - b.x, a.y - b.y];
  const distance = Math.hypot(dx, dy) || 1e-6;
  const push = (a.radius + b.radius + 1.5 - distance) / 2 / distance;
  if (push <= 0) return;
  a.x += dx * push;
  a.y += dy * push;
  b.x -= dx * push;
  b.y -= dy * push;
}

function circleLink(circle, tip, width) {
  const { topic, x, y, radius } = circle;
  const show = () => {
    tip.replaceChildren(el("b", {}, labelOf(topic)), el("span", {}, `${plural(topic.videos, "video")} · ${topic.group.name}`));
    tip.hidden = false;
    tip.style.left = `${Math.min(Math.max(x, 90), width - 90)}px`;
    tip.style.top = `${y - radius - 8}px`;
  };
  const hide = () => (tip.hidden = true);
  // The cards below are the way by keyboard: hundreds of stops here would stand before them.
  return svg(
    "a",
    { href: topicLink(topic), tabindex: "-1", onpointerenter: show, onpointerleave: hide, onclick: hide },
    svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: radius.toFixed(1), fill: colourOf(topic) }),
  );
}

// Every coloured group's largest circle, then the largest of all.
function named(circles, count) {
  const first = [...colours.keys()].map((group) => circles.find(({ topic }) => topic.group === group));
  return [...new Set([...first.filter((circle) => circle?.radius > 8), ...circles.slice(0, count)])];
}

// Labels that don't run over one another or over the edge, those in front first.
function withRoom(circles, width) {
  const taken = [];
  for (const circle of circles) {
    const half = (circle.topic.terms[0] ?? "").length * 3.6 + 4;
    const clash = taken.some((other) => Math.abs(other.x - circle.x) < other.half + half && Math.abs(other.y - circle.y) < 17);
    if (!clash && circle.x > half && circle.x < width - half) taken.push({ ...circle, half });
  }
  return taken;
}

function legend(drawn) {
  const shownGroups = new Set(drawn.map((topic) => topic.group));
  const entries = [...colours].filter(([group]) => shownGroups.has(group)).map(([group, colour]) => el("li", {}, el("i", { class: "dot", "--colour": colour }), group.name));
  if (drawn.some((topic) => colourOf(topic) === GREY)) entries.push(el("li", {}, el("i", { class: "dot", "--colour": GREY }), "other"));
  return el("ul", { class: "legend", "aria-label": raw.groups ? "Colours: the topic's group" : "Colours: the primary class of most of a topic's videos" }, entries);
}
