// Instruments live in frames of their own: each says how tall it is, and hears which theme is on.
"use strict";
(() => {
  const frames = [...document.querySelectorAll("iframe.instrument")];
  if (!frames.length) return;
  const root = document.documentElement;
  const tell = (frame) => frame.contentWindow?.postMessage({ theme: root.dataset.theme }, "*");
  window.addEventListener("message", (event) => {
    const frame = frames.find((one) => one.contentWindow === event.source);
    const height = Number(event.data?.height);
    if (!frame || !event.data.instrument || !(height > 0)) return;
    frame.style.height = `${Math.min(height + 2, 5000)}px`;
    tell(frame);
  });
  frames.forEach((frame) => frame.addEventListener("load", () => tell(frame)));
  new MutationObserver(() => frames.forEach(tell)).observe(root, {
    attributes: true,
    attributeFilter: ["data-theme"],
  });
})();
