// Interactive figures: plotly.min.js is fetched once, from this site, when the first figure comes
// near the screen. Where it cannot be had, the still picture that follows each figure is opened.
"use strict";
(() => {
  const own = document.currentScript.src;
  const plots = [...document.querySelectorAll(".plot")];
  const still = (plot) => {
    const all = [...document.querySelectorAll(".cell_output details")];
    const after = Node.DOCUMENT_POSITION_FOLLOWING;
    return all.find((one) => plot.compareDocumentPosition(one) & after && one.querySelector("img"));
  };
  let library;
  const load = () => {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL("plotly.min.js", own).href;
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });
    return library;
  };
  const draw = async (plot) => {
    const figure = JSON.parse(plot.querySelector("script").textContent);
    try {
      await load();
      await window.Plotly.newPlot(plot, figure.data, figure.layout, {
        responsive: true,
        displaylogo: false,
      });
    } catch {
      plot.hidden = true;
      const picture = still(plot);
      if (picture) picture.open = true;
    }
  };
  if (plots.length) {
    const watch = new IntersectionObserver(
      (seen) => {
        for (const one of seen.filter((entry) => entry.isIntersecting)) {
          watch.unobserve(one.target);
          draw(one.target);
        }
      },
      { rootMargin: "600px" },
    );
    plots.forEach((plot) => watch.observe(plot));
  }
  // What scrolls sideways can be scrolled with the keyboard as well; what does not is no stop.
  const stops = () => {
    for (const box of document.querySelectorAll(".formula, .lesson-map, .front figure")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  stops();
  window.addEventListener("resize", stops);
  window.addEventListener("load", stops); // pictures have their size by then
  // On paper nothing can be opened or hovered: still pictures and tables come out, hints do not.
  // Paper is white, whatever the screen is.
  const root = document.documentElement;
  let opened = [];
  let theme;
  window.addEventListener("beforeprint", () => {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    opened = [...document.querySelectorAll(".cell_output details:not([open])")];
    opened.forEach((one) => (one.open = true));
  });
  window.addEventListener("afterprint", () => {
    root.dataset.theme = theme;
    opened.forEach((one) => (one.open = false));
  });
})();
