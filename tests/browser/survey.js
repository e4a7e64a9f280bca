// What survey.py asks a page, each a function that takes and gives plain data.
(() => {
  const shown = (e) =>
    e.checkVisibility({ visibilityProperty: true, opacityProperty: true, contentVisibilityAuto: true });

  const named = (e) => {
    const id = e.id ? `#${e.id}` : "";
    const kind = typeof e.className === "string" && e.className ? `.${e.className.trim().split(/\s+/)[0]}` : "";
    const words = (e.getAttribute("alt") ?? e.textContent).trim().replace(/\s+/g, " ").slice(0, 50);
    return `${e.tagName.toLowerCase()}${id}${kind} "${words}"`;
  };

  // Only there for screen readers: clipped to a pixel, moved away, or an empty box.
  const aside = (e) => {
    const box = e.getBoundingClientRect();
    return box.width <= 1 || box.height <= 1 || box.bottom + scrollY < 0 || box.right < 0;
  };

  // A box that people can scroll sideways, between an element and the page.
  const scroller = (e) => {
    for (let up = e.parentElement; up && up !== document.body; up = up.parentElement) {
      if (/auto|scroll/.test(getComputedStyle(up).overflowX)) return up;
    }
    return null;
  };

  // What looks like something before it on the page: the same colours and sizes, in it as well.
  // Thousands of tokens in the code of a lesson are a few dozen pairs of colours.
  const twins = () => {
    const numbers = new Map();
    const number = (text) => {
      if (!numbers.has(text)) numbers.set(text, numbers.size);
      return numbers.get(text);
    };
    const look = new Map();
    const read = (e, ground) => {
      const style = getComputedStyle(e);
      const own = `${style.backgroundColor} ${style.backgroundImage}`;
      if (own !== "rgba(0, 0, 0, 0) none") ground += `/${own}`;
      const speaks = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
      const font = [e.tagName, style.color, style.fontSize, style.fontWeight, style.textShadow];
      const within = [...new Set([...e.children].map((c) => read(c, ground)))].sort();
      const kind = number(
        [speaks ? font : "", style.opacity, style.visibility, style.display, ground, within].join("|"),
      );
      look.set(e, kind);
      return kind;
    };
    read(document.body, "");
    const seen = new Set();
    const found = [];
    const visit = (e) => {
      if (seen.has(look.get(e)) && !e.matches("script, style") && !e.querySelector("iframe, script")) {
        found.push(e);
        return;
      }
      seen.add(look.get(e));
      [...e.children].forEach(visit);
    };
    visit(document.body);
    return found;
  };

  // Runs axe-core while `parts` are out of the page, each with something in its place: it takes
  // seconds for a page of thousands of elements, most of them tokens of code.
  const without = async (parts, options) => {
    const pairs = parts.map(([part, stand]) => (part.replaceWith(stand), [part, stand]));
    const found = await axe.run(document, { preload: false, resultTypes: ["violations"], ...options });
    pairs.reverse().forEach(([part, stand]) => stand.replaceWith(part));
    return found.violations
      .filter((rule) => ["serious", "critical"].includes(rule.impact))
      .flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 160)}`));
  };

  window.survey = {
    // Waits for what a reader would see after scrolling to the end: lazy pictures, drawn figures.
    async settle() {
      const style = document.createElement("style"); // a colour half way is nobody's fault
      style.textContent = "*, *::before, *::after { transition: none !important; animation: none !important }";
      document.head.append(style);
      const pictures = [...document.images];
      pictures.forEach((one) => (one.loading = "eager"));
      await Promise.all(pictures.map((one) => one.decode().catch(() => null)));
      const frames = [...document.querySelectorAll("iframe[src]")];
      frames.forEach((one) => (one.loading = "eager"));
      // a frame that had loaded says so no more, but its request is on record; and one that never
      // loads is a request that failed, which `_listen` tells
      const there = (one) => performance.getEntriesByName(one.src).length > 0;
      for (let n = 0; n < 600 && !frames.every(there); n++) await new Promise(requestAnimationFrame);
      for (const plot of document.querySelectorAll(".plot:not([hidden])")) {
        plot.scrollIntoView();
        while (!plot.hidden && !plot.querySelector(".main-svg")) {
          await new Promise(requestAnimationFrame);
        }
      }
      scrollTo(0, 0);
      await document.fonts.ready;
    },

    links: () =>
      [...document.querySelectorAll("a[href], area[href], a[*|href]")].map((a) =>
        new URL(a.href.baseVal ?? a.href, location.href).href),

    ids: () => [...document.querySelectorAll("[id], a[name]")].flatMap((e) => [e.id, e.name]).filter(Boolean),

    // Faults of a page's structure, contrast left out.
    structure: () => {
      const tokens = [...document.querySelectorAll(".highlight pre")].map((pre) => {
        const plain = pre.cloneNode();
        plain.textContent = pre.textContent;
        return [pre, plain];
      });
      return without(tokens, { rules: { "color-contrast": { enabled: false } } });
    },

    // Too little contrast between text and what lies behind it.
    contrast: () =>
      without(
        twins().map((e) => [e, document.createComment("a twin")]),
        { runOnly: { type: "rule", values: ["color-contrast"] } },
      ),

    // What sticks out of the page at the side, where no box scrolls, or is cut off.
    overflow: () => {
      const wide = document.documentElement.clientWidth;
      const found = [];
      if (document.documentElement.scrollWidth > wide) {
        found.push(`the page is ${document.documentElement.scrollWidth} px wide on ${wide}`);
      }
      for (const e of document.body.querySelectorAll("*")) {
        const box = e.getBoundingClientRect();
        if (box.right > wide + 1 && box.left < wide && shown(e) && !aside(e) && !scroller(e) && !e.closest("svg svg")) {
          found.push(`sticks out by ${Math.round(box.right - wide)} px: ${named(e)}`);
        }
        const cut = e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1;
        if (cut && /hidden|clip/.test(getComputedStyle(e).overflowX) && shown(e) && e.textContent.trim() && !e.closest("svg, .plot")) {
          found.push(`cut off at ${e.clientWidth} of ${e.scrollWidth} px: ${named(e)}`);
        }
      }
      return found;
    },

    // Letters below `least` px on the screen, pictures below `scale` of the size they were drawn in.
    illegible: ([least, scale]) => {
      const found = [];
      const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      const told = new Set();
      while (words.nextNode()) {
        const e = words.currentNode.parentElement;
        // small letters belong to formulas; what is folded or only spoken has no size
        if (told.has(e) || !words.currentNode.textContent.trim() || e.closest("math, script, style, sup, sub, noscript")) continue;
        told.add(e);
        if (!shown(e) || aside(e)) continue;
        const drawn = e.ownerSVGElement && e.getScreenCTM?.();
        const zoom = drawn ? Math.hypot(drawn.a, drawn.b) : 1; // turned letters are no smaller
        const size = parseFloat(getComputedStyle(e).fontSize) * zoom;
        if (size < least) found.push(`letters of ${size.toFixed(1)} px: ${named(e)}`);
      }
      for (const one of document.images) {
        const part = one.getBoundingClientRect().width / (one.naturalWidth || 1);
        if (!one.naturalWidth) found.push(`a picture that does not load: ${named(one)}`);
        else if (shown(one) && part < scale) found.push(`drawn at ${part.toFixed(2)} of its size: ${named(one)}`);
      }
      return found;
    },
  };
})();
