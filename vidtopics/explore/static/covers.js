document.documentElement.style.setProperty("--ratio", raw.ratio);

// A cover, or a tile with the title's initials where there is none. The title stands beside it, so it has no text of its own.
function cover(video) {
  if (!video.file) return placeholder(video);
  const image = el("img", { alt: "", loading: "lazy", decoding: "async" });
  image.src = `data:image/webp;base64,${video.file}`;
  return el("span", { class: "cover" }, image);
}

function placeholder(video) {
  return el("span", { class: "cover empty", "--hue": hueOf(video.id), "aria-hidden": "true" }, el("b", {}, initials(video)));
}

function initials(video) {
  const names = (video.title || video.id).match(/[\p{L}\p{N}]+/gu) ?? ["?"];
  return names.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
}

function hueOf(text) {
  let hash = 0;
  for (const sign of text) hash = (hash * 31 + sign.codePointAt(0)) % 3600;
  return hash / 10;
}
