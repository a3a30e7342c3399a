document.documentElement.style.setProperty("--ratio", raw.ratio);

// A cover, or a tile with the title's initials where there is none. The title stands beside it, so it has no text of its own.
function cover(video) {
  if (!video.file) return placeholder(video);
  const image = el("img", { alt: "", loading: "lazy", decoding: "async" });
  image.src = `data:image/webp;base64,${video.file}`;
  return el("span", { class: "cover" }, image);
}
